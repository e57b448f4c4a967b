//! Text for operators: OVS's line of a flow, and tables.

use std::fmt::Write;

use flow::{Placement, odp};

use super::view::{Flow, tcp_flags};
use offload::FlowView;

/// The layer that OVS would name for megaflows on the host.
const HOST_LAYER: &str = "ovs";
/// Bytes of a usual line with a newline behind it.
pub(super) const LINE: usize = 256;

/// Returns OVS's line of a flow as `dpctl/dump-flows` prints it, or with `detail` as
/// `dpctl/dump-flows -m` does. Ports are shown by their names in `names`. A flow that is in
/// hardware says `offloaded:yes` and the provider as `dp:`.
#[must_use]
pub fn flow_line(view: &FlowView, detail: bool, names: odp::Names<'_>) -> String {
    let mut line = String::with_capacity(LINE);
    print_flow(&mut line, view, detail, names);
    line
}

/// Appends the same to a text.
pub(super) fn print_flow(text: &mut String, view: &FlowView, detail: bool, names: odp::Names<'_>) {
    if detail {
        let _ = write!(text, "{}, ", view.flow.ufid);
    }
    odp::print_match(text, &view.flow.matching, names);
    text.push_str(", ");
    print_statistics(text, view);
    if detail {
        match (view.placement, &view.provider) {
            (Placement::Nic, Some(provider)) => {
                let _ = write!(text, ", offloaded:yes, dp:{provider}");
            }
            _ => {
                let _ = write!(text, ", dp:{HOST_LAYER}");
            }
        }
    }
    text.push_str(", actions:");
    odp::print_actions(text, &view.flow.actions, names);
}

/// Returns `packets:…, bytes:…, used:…[, flags:…]`.
#[must_use]
pub fn statistics(view: &FlowView) -> String {
    let mut text = String::new();
    print_statistics(&mut text, view);
    text
}

fn print_statistics(text: &mut String, view: &FlowView) {
    let total = view.total();
    text.push_str("packets:");
    odp::push_dec(text, total.packets);
    text.push_str(", bytes:");
    odp::push_dec(text, total.bytes);
    text.push_str(", used:");
    match view.used {
        Some(time) => {
            let _ = write!(text, "{:.3}s", time.as_secs_f64());
        }
        None => text.push_str("never"),
    }
    if view.tcp_flags != 0 {
        let _ = write!(text, ", flags:{}", tcp_flags(view.tcp_flags));
    }
}

/// Returns a table of megaflows, the busiest first. The table says where each one lives or why it
/// is not in hardware.
#[must_use]
pub fn flow_table(flows: &[Flow]) -> String {
    let mut flows: Vec<&Flow> = flows.iter().collect();
    flows.sort_by(|a, b| (b.total.bytes, &a.ufid).cmp(&(a.total.bytes, &b.ufid)));
    let header =
        ["placement", "nic packets", "nic bytes", "host packets", "host bytes", "megaflow"];
    let mut rows = vec![header.map(str::to_owned)];
    for flow in flows {
        let place = match (&flow.provider, flow.placement.as_str()) {
            (Some(provider), "nic") => format!("nic ({provider})"),
            _ => flow.placement.clone(),
        };
        let mut what = format!("{} actions:{}", flow.matching, flow.actions);
        for refusal in &flow.refusals {
            let _ = write!(what, "\n  because: {refusal}");
        }
        let [nic, host] = [flow.nic, flow.host];
        rows.push([
            place,
            nic.packets.to_string(),
            nic.bytes.to_string(),
            host.packets.to_string(),
            host.bytes.to_string(),
            what,
        ]);
    }
    table(&rows, &[1, 2, 3, 4])
}

/// Returns rows as columns, two spaces apart. The columns in `right` are aligned to the right. A
/// cell of the last column may have further lines, which stand under its first one.
#[must_use]
pub fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let indent: usize = widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column + 1 == N {
                line += &cell.replace('\n', &format!("\n{:indent$}", ""));
            } else if right.contains(&column) {
                let _ = write!(line, "{cell:>width$}  ");
            } else {
                let _ = write!(line, "{cell:<width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use flow::{Action, Counters, Generation, Key, Mask, Match, Megaflow, PortId};

    use super::*;

    fn view() -> FlowView {
        let key = Key { in_port: 1, eth_type: 0x800, ..Key::default() };
        let mask = Mask { eth_type: 0xffff, ip_proto: 0xff, ..Mask::default() };
        let key = Key { ip_proto: 6, ..key };
        FlowView {
            flow: Arc::new(Megaflow::new(Match::new(&key, &mask), vec![Action::Output(PortId(2))])),
            placement: Placement::Nic,
            provider: Some("fpga".into()),
            generation: Generation(1),
            refused: None,
            nic: Counters { packets: 3, bytes: 300 },
            host: Counters { packets: 1, bytes: 60 },
            used: Some(Duration::from_millis(1234)),
            tcp_flags: 0x012,
        }
    }

    #[test]
    fn a_flow_is_ovs_s_line() {
        let line = flow_line(&view(), true, &|_| None);
        assert!(line.starts_with("ufid:"), "{line}");
        let end = "packets:4, bytes:360, used:1.234s, flags:S., offloaded:yes, dp:fpga, actions:2";
        assert!(line.ends_with(end), "{line}");
        let idle = FlowView { used: None, tcp_flags: 0, ..view() };
        let brief = flow_line(&idle, false, &|_| None);
        assert!(brief.starts_with("recirc_id(0),in_port(1),"), "{brief}");
        assert!(brief.ends_with(", packets:4, bytes:360, used:never, actions:2"), "{brief}");
        let (_, matching, actions) = odp::parse_flow(&line).unwrap();
        assert_eq!(
            (matching, actions.unwrap()),
            (view().flow.matching.clone(), view().flow.actions.clone())
        );
    }

    #[test]
    fn tables_line_up() {
        let rows = [["a", "b", "c"], ["long", "7", "x\ny"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows, &[1]), "a     b  c\nlong  7  x\n         y\n");
    }
}
