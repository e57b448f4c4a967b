//! The page at `/`: plain HTML, rendered here, without a script.

use std::fmt::{self, Write};

use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::api::{Selection, ShownFlows};
use super::query::encode;
use crate::control::view::{Count, Flow, ShownState};
use crate::control::{Context, methods, paging};

/// The largest number of flows on one page.
const ROWS: usize = 200;

const STYLE: &str = include_str!("style.css");

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css")], STYLE).into_response()
}

pub(super) async fn page(Shared(context): Shared<Context>, RawQuery(query): RawQuery) -> Response {
    let mut selection = match Selection::parse(query.as_deref()) {
        Ok(selection) => selection,
        Err(why) => return failed(StatusCode::BAD_REQUEST, &why),
    };
    selection.limit = selection.limit.min(ROWS);
    let work = move |context: &Context| {
        let state = ShownState::from(&methods::status(context)?);
        // The error of a filter that can't be read is shown in the page, not instead of it.
        let flows = selection.read(context);
        Ok(render_page(&state, &selection, &flows))
    };
    match paging(&context, work).await {
        Ok(html) => Html(html).into_response(),
        Err(why) => failed(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn failed(code: StatusCode, why: &str) -> Response {
    let html = format!("{HEAD}<h1>megaflow</h1><p class=bad>{}</p>", Text(why));
    (code, Html(html)).into_response()
}

const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
    <meta name=viewport content='width=device-width, initial-scale=1'>\
    <title>megaflow</title><link rel=stylesheet href=/style.css></head><body>\n";

/// Text that is escaped for HTML content and quoted attributes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn render_page(
    state: &ShownState,
    selection: &Selection,
    flows: &Result<ShownFlows, String>,
) -> String {
    let mut out = String::from(HEAD);
    let _ = writeln!(
        out,
        "<h1>{}</h1><p>megaflow {}, client {}</p>",
        Text(&state.name),
        Text(&state.version),
        Text(&state.client)
    );
    let balance = &state.conservation;
    let _ = writeln!(out, "<pre class={}>{}</pre>", Text(&balance.state), Text(&balance.lines()));
    flow_section(&mut out, state, selection, flows);
    ports(&mut out, state);
    providers(&mut out, state);
    out.push_str(
        "<p><a href=/metrics>metrics</a> · <a href=/api/v1/status>status</a> · \
         <a href=/api/v1/flows>flows</a></p></body></html>\n",
    );
    out
}

fn flow_section(
    out: &mut String,
    state: &ShownState,
    selection: &Selection,
    flows: &Result<ShownFlows, String>,
) {
    out.push_str("<h2>Megaflows</h2><form action=/ method=get><select name=where>");
    let chosen = selection.place.map_or("", flow::Placement::name);
    for (value, label) in
        [("", "everywhere"), ("nic", "nic"), ("host", "host"), ("refused", "refused")]
    {
        let mark = if value == chosen { " selected" } else { "" };
        let count = match state.flows.get(value) {
            Some(count) => format!(" ({count})"),
            None => String::new(),
        };
        let _ = write!(out, "<option value='{value}'{mark}>{label}{count}</option>");
    }
    let example = state.ports.first().map_or("ip".to_owned(), |p| format!("in_port={},ip", p.name));
    let _ = writeln!(
        out,
        "</select> <input name=filter value='{}' placeholder='{}'> <button>show</button></form>",
        Text(&selection.filter),
        Text(&example)
    );
    let flows = match flows {
        Ok(flows) => flows,
        Err(why) => {
            let _ = writeln!(out, "<p class=bad>{}</p>", Text(why));
            return;
        }
    };
    out.push_str(
        "<div class=wide><table><tr><th>where<th>megaflow<th>actions<th>nic packets<th>nic bytes\
         <th>host packets<th>host bytes<th>used\n",
    );
    flows.flows.iter().for_each(|flow| flow_row(out, flow));
    out.push_str("</table></div>\n");
    let _ = match selection.filter.as_str() {
        "" => write!(out, "<p>{} of {}", flows.flows.len(), flows.total),
        _ => write!(out, "<p>{} found", flows.flows.len()),
    };
    if let Some(next) = flows.next {
        let filter = encode(&selection.filter);
        let _ = write!(
            out,
            " · <a href='/?where={chosen}&amp;filter={filter}&amp;cursor={next}'>next</a>"
        );
    }
    out.push_str("</p>\n");
}

fn flow_row(out: &mut String, flow: &Flow) {
    let place = match &flow.provider {
        Some(provider) => format!("{} ({provider})", flow.placement),
        None => flow.placement.clone(),
    };
    let _ = write!(
        out,
        "<tr class='{}'><td>{}<td class=m title='{}'>{}",
        Text(&flow.placement),
        Text(&place),
        Text(&flow.ufid),
        Text(&flow.matching)
    );
    for refusal in &flow.refusals {
        let _ = write!(out, "<br><em>{}</em>", Text(&refusal.to_string()));
    }
    let _ = write!(out, "<td class=m>{}", Text(&flow.actions));
    counts(out, flow.nic);
    counts(out, flow.host);
    match flow.used_seconds {
        Some(seconds) => {
            let _ = writeln!(out, "<td class=n>{seconds:.1} s");
        }
        None => out.push_str("<td class=n>never\n"),
    }
}

fn counts(out: &mut String, count: Count) {
    let _ = write!(out, "<td class=n>{}<td class=n>{}", count.packets, count.bytes);
}

fn ports(out: &mut String, state: &ShownState) {
    out.push_str(
        "<h2>Ports</h2><div class=wide><table><tr><th>port<th>name<th>type<th>state\
         <th>received nic<th>bytes<th>received host<th>bytes\
         <th>sent nic<th>bytes<th>sent host<th>bytes<th>upcalls<th>dropped\n",
    );
    for port in &state.ports {
        let _ = write!(
            out,
            "<tr><td class=n>{}<td class=m>{}<td>{}<td>{}",
            port.number,
            Text(&port.name),
            Text(&port.kind),
            Text(&port.state)
        );
        if let Some(way) = &port.way {
            let _ = write!(out, ", {}", Text(way));
        }
        if let Some(trouble) = &port.trouble {
            let _ = write!(out, ": {}", Text(trouble));
        }
        for count in [port.received_nic, port.received_host, port.sent_nic, port.sent_host] {
            counts(out, count);
        }
        let all = [&port.upcall_drops, &port.receive_drops, &port.transmit_drops];
        let drops: Vec<String> = all
            .iter()
            .flat_map(|drops| drops.iter())
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let _ = writeln!(out, "<td class=n>{}<td>{}", port.upcalls, Text(&drops.join(", ")));
    }
    out.push_str("</table></div>\n");
}

fn providers(out: &mut String, state: &ShownState) {
    out.push_str("<h2>Providers</h2>");
    if state.providers.is_empty() {
        out.push_str("<p>None is configured.</p>\n");
        return;
    }
    out.push_str(
        "<div class=wide><table><tr><th>provider<th>up<th>tables<th>queue<th>admitted<th>refused\
         <th>repaired\n",
    );
    let list = |counts: &std::collections::BTreeMap<String, u64>| {
        let some = counts.iter().filter(|(_, count)| **count > 0);
        some.map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
    };
    for provider in &state.providers {
        let tables: Vec<String> = provider
            .tables
            .iter()
            .map(|table| match table.capacity {
                Some(capacity) => format!("{} {} of {capacity}", table.table, table.entries),
                None => format!("{} {}", table.table, table.entries),
            })
            .collect();
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td class=m>{}<td>{} of {}<td class=n>{}<td>{}<td>{}",
            Text(&provider.name),
            Text(&provider.trouble.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}"))),
            Text(&tables.join(", ")),
            provider.queue.0,
            provider.queue.1,
            provider.admitted,
            Text(&list(&provider.refused)),
            Text(&list(&provider.corrections))
        );
    }
    out.push_str("</table></div>\n");
}
