//! `megaflow explain`

use flow::{Admission, Megaflow, PortId, Reasons};
use tc_flower::{PortDevice, TcAdmission};
use vfio::CardAdmission;
use vfio::register::CardCapabilities;

use super::client::DaemonSocket;
use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::plan::read;
use crate::control::view::{Explained, Plan};
use offload::{Explanation, Standing};

/// Explains why a megaflow is or is not in hardware: prints the plan or every reason against it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  megaflow explain ufid:cca68dcf-8df3-ab22-8ecf-5164e1b92587\n  \
    megaflow explain --target fpga 'in_port(1),eth_type(0x0800),ipv4(frag=no)' 2"
)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: DaemonSocket,
    /// Ask no daemon: assume a provider of this kind that has its default capabilities and every
    /// port of the flow
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The flow's ufid, or the flow as ODP text, with or without actions:…
    #[arg(value_name = "FLOW|UFID")]
    flow: String,
    /// The flow's actions, if FLOW does not contain them
    actions: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    Tc,
    Fpga,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    let Some(target) = args.target else {
        let mut params = vec![args.flow.as_str()];
        params.extend(args.actions.as_deref());
        if args.json {
            params.insert(0, "--json");
            let explained: Explained = args.daemon.data("offload/explain", &params)?;
            return print_json(&explained);
        }
        return print(&args.daemon.call("offload/explain", &params)?);
    };
    let asked =
        read(&args.flow, args.actions.as_deref(), &|_| None).map_err(CommandFailure::Input)?;
    // A flow without actions is a drop, as in a datapath.
    let flow = Megaflow::new(asked.matching, asked.actions.unwrap_or_default());
    let ports: Vec<PortId> = flow.ports().into_iter().collect();
    let (provider, plan) = match target {
        Target::Fpga => {
            ("fpga", CardAdmission::new(&CardCapabilities::default(), &ports).explain(&flow))
        }
        Target::Tc => ("tc", TcAdmission::unprobed(switch(&ports)).explain(&flow)),
    };
    let mut reasons = Reasons::default();
    reasons.extend(asked.unsupported);
    let plan = reasons.keep(plan).unwrap_or_default();
    let (plan, standing) = match reasons.into_refusals() {
        None => (Some(plan), Standing::Takes),
        Some(why) => (None, Standing::Refuses(why)),
    };
    let plan = Plan::from(&Explanation { provider: provider.to_owned(), plan, standing });
    if args.json {
        return print_json(&plan);
    }
    match &plan.plan {
        Some(plan) => print(&format!("{}\n", plan.trim_end())),
        None => {
            print(&plan.refusals.iter().map(|why| format!("refused: {why}\n")).collect::<String>())
        }
    }
}

/// A switch with an interface for each port.
fn switch(ports: &[PortId]) -> tc_flower::Target {
    let device = |port: &PortId| PortDevice {
        // The indices only have to differ: nothing is sent to the kernel.
        ifindex: port.0.saturating_add(1),
        name: format!("port{port}"),
        switch_id: "00".to_owned(),
    };
    let ports = ports.iter().map(|port| (*port, device(port))).collect();
    // The daemon opens tc with this setting.
    tc_flower::Target { ports, recirculation: false }
}
