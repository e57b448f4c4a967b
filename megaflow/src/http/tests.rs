use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flow::Clock;
use tokio::runtime::Runtime;

use super::*;
use crate::config::Http;
use crate::control::testing::{HOSTILE, PAGE, context, counted, fill};

struct Lab {
    context: Context,
    server: HttpServer,
    _runtime: Runtime,
}

impl Lab {
    fn new() -> Lab {
        let runtime = Runtime::new().unwrap();
        let context = context();
        let hosts = vec!["sw1.example".to_owned()];
        let http = Http { listen: "127.0.0.1:0".parse().unwrap(), hosts };
        let web = HttpSocket::at(&http).unwrap();
        let server = runtime.block_on(async { HttpServer::start(web, context.clone()) }).unwrap();
        Lab { context, server, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends a request of these lines. Returns the answer's status, head and body.
    fn send(&self, lines: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(format!("{lines}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (code, _, body) = self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost"));
        (code, body)
    }
}

#[test]
fn metrics_health_and_json_are_there() {
    let lab = Lab::new();
    fill(&lab.context, 30);
    let (code, head, body) = lab.send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("megaflow_flows{placement=\"nic\"} 30\n"), "{body}");
    assert_eq!(lab.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(lab.get("/readyz"), (200, "ready\n".to_owned()));
    let json = |path: &str| -> serde_json::Value {
        let (code, body) = lab.get(path);
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(json("/api/v1/status")["flows"]["nic"], 30);
    let flows = json("/api/v1/flows?filter=tcp&limit=7&cursor=28");
    assert_eq!((&flows["total"], flows["flows"].as_array().unwrap().len()), (&30.into(), 2));
    assert!(flows["next"].is_null());
    let ufid = flows["flows"][0]["ufid"].as_str().unwrap();
    let explained = json(&format!("/api/v1/explain?flow={ufid}"));
    assert_eq!(explained["installed"]["placement"], "nic");
    assert_eq!(json("/api/v1/flows?where=refused")["total"], 0);
    for bad in
        ["flows?filter=foo", "flows?limit=x", "flows?cursor=-1", "flows?foo=1", "explain?flow=x"]
    {
        let (code, body) = lab.get(&format!("/api/v1/{bad}"));
        assert_eq!(code, 400, "{bad}");
        assert!(body.starts_with("{\"error\":"), "{body}");
    }
    assert_eq!(lab.get("/other").0, 404);
}

#[test]
fn the_page_shows_flows_and_no_markup_of_others() {
    let lab = Lab::new();
    fill(&lab.context, 300);
    let (code, page) = lab.get("/");
    assert_eq!(code, 200);
    assert_eq!(page.matches("<tr class='nic'>").count(), 200);
    assert!(page.contains("200 of 300 · <a href='/?where=&amp;filter=&amp;cursor=200'>"));
    assert!(page.contains("packets offered 0 + copies 0 = sent nic 0"), "{page}");
    assert!(page.contains("<pre class=not-at-rest>") && page.contains(": not at rest\n"), "{page}");
    assert!(!page.contains(HOSTILE) && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert_eq!(lab.get("/?cursor=200&filter=").1.matches("<tr class='nic'>").count(), 100);
    let (_, wrong) = lab.get("/?filter=%27%3E%3Cb%3E");
    assert!(wrong.contains("value='&#39;&gt;&lt;b&gt;'"), "{wrong}");
    assert!(wrong.contains("is neither a protocol nor field=value"), "{wrong}");
    assert_eq!(lab.get("/style.css").0, 200);
}

/// Follows the cursors from the first page to the last. Returns the ufids and the number of
/// pages.
fn follow(lab: &Lab, query: &str) -> (Vec<String>, usize) {
    let (mut ufids, mut cursor, mut pages) = (Vec::new(), serde_json::json!(0), 0);
    while !cursor.is_null() {
        let (_, body) = lab.get(&format!("/api/v1/flows?{query}&cursor={cursor}"));
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let flows = page["flows"].as_array().unwrap();
        ufids.extend(flows.iter().map(|flow| flow["ufid"].as_str().unwrap().to_owned()));
        cursor = page["next"].clone();
        pages += 1;
    }
    (ufids, pages)
}

#[test]
fn cursors_lead_past_each_megaflow_once() {
    let lab = Lab::new();
    let count = 3 * PAGE + 7;
    fill(&lab.context, count);
    let all = lab.context.handle.flows().unwrap();
    for limit in [1, 7, PAGE - 1, PAGE, PAGE + 1, count - 1, count, 1000] {
        for (query, wanted) in [
            ("", 0..count),
            ("where=nic", 0..count),
            ("filter=tcp,tp_dst=0x80/0xff80", 128..count.min(256)),
        ] {
            let mut want: Vec<String> = all
                .iter()
                .filter(|view| wanted.contains(&u32::from(view.flow.matching.key().tp_dst)))
                .map(|view| view.flow.ufid.to_string())
                .collect();
            want.sort();
            let (mut got, pages) = follow(&lab, &format!("{query}&limit={limit}"));
            got.sort();
            assert_eq!(got, want, "{query} {limit}");
            assert!(pages <= 1 + want.len() / limit as usize + 1, "{query} {limit}: {pages} pages");
        }
    }
}

#[test]
fn a_page_costs_what_it_shows_or_a_bounded_search() {
    let selection = |query: &str| api::Selection::parse(Some(query)).unwrap();
    let counted = |count| {
        let behind = context();
        fill(&behind, count);
        counted(behind, usize::MAX)
    };
    for count in [PAGE, 200 * PAGE] {
        let (context, asked) = counted(count);
        for limit in [1, 5] {
            let page = selection(&format!("limit={limit}")).read(&context).unwrap();
            assert_eq!((page.flows.len(), asked.take()), (limit, (1, limit)));
        }
        assert_eq!(selection("limit=0").read(&context).unwrap().total, u64::from(count));
        let refused = selection("where=refused&limit=1").read(&context).unwrap();
        assert_eq!((refused.total, refused.flows.len()), (0, 0));
    }
    let (context, asked) = counted(200 * PAGE);
    let nothing = selection("filter=udp").read(&context).unwrap();
    assert_eq!((nothing.flows.len(), nothing.next), (0, Some(64 * PAGE)));
    assert_eq!(asked.take(), (64, 64 * PAGE as usize));
    // The search goes on at the cursor and comes to an end.
    let rest = selection(&format!("filter=udp&cursor={}", 190 * PAGE)).read(&context).unwrap();
    assert_eq!((rest.flows.len(), rest.next, asked.take().0), (0, None, 10));
}

#[test]
fn it_only_reads_and_only_for_us() {
    let lab = Lab::new();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let (code, head, _) = lab.send(&format!("{method} / HTTP/1.1\r\nHost: localhost"));
        assert_eq!(code, 405, "{method}");
        assert!(head.contains("allow: GET, HEAD"), "{head}");
    }
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/flows", "/style.css", "/", "/other"] {
        for host in ["Host: evil.example", "Host: localhost\r\nHost: localhost", "X: y"] {
            let (code, _, body) = lab.send(&format!("GET {path} HTTP/1.1\r\n{host}"));
            assert!(code == 421 || code == 400, "{path} {host}: {code}");
            assert!(body.contains("add the name to hosts in [http]"), "{path} {host}: {body}");
        }
        let ours = ["Host: sw1.example:9464", "Host: [::1]:9464"];
        for lines in ours.map(|host| format!("GET {path} HTTP/1.1\r\n{host}")) {
            assert_ne!(lab.send(&lines).0, 421, "{lines}");
        }
        assert_ne!(lab.send(&format!("GET {path} HTTP/1.0\r\nX: y")).0, 421, "a health check");
    }
    let absolute = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost";
    assert_eq!(lab.send(absolute).0, 421);
    let (_, head, _) = lab.send("GET / HTTP/1.1\r\nHost: localhost");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"));
}

#[test]
fn half_open_and_garbage_connections_stall_nobody() {
    let lab = Lab::new();
    let half: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = lab.connect();
            let start: &[u8] = if number % 2 == 0 { b"GET / HT" } else { b"\0\xff\r\n" };
            stream.write_all(start).unwrap();
            stream
        })
        .collect();
    let start = Clock::start();
    assert_eq!(lab.get("/healthz").0, 200);
    assert!(start.elapsed() < Duration::from_secs(3));
    drop(half);
}
