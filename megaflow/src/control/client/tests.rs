use std::io::Read;
use std::os::unix::net::UnixStream as Client;

use tokio::runtime::Runtime;

use super::*;
use crate::control::filter::FlowFilter;
use crate::control::render::flow_line;
use crate::control::testing::{PAGE, context, counted, fill};
use crate::control::view::Flow;
use offload::FlowView;

/// The number of pages of the tests' table.
const PAGES: u32 = 100;

/// A served connection. The client's end blocks.
struct Lab {
    runtime: Runtime,
    context: Context,
}

impl Lab {
    fn new(flows: u32) -> Lab {
        let context = context();
        fill(&context, flows);
        Lab { runtime: Runtime::new().unwrap(), context }
    }

    fn pages(&self, method: &str, params: &[&str]) -> Pages {
        let params: Vec<String> = params.iter().map(|param| (*param).to_owned()).collect();
        match methods::call(&self.context, Format::Text, method, &params) {
            Ok(MethodAnswer::Pages(pages)) => pages,
            Ok(_) => panic!("{method} answers at once"),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Sends the answer of the method to a client that does this meanwhile.
    fn send<T: Send + 'static>(
        &self,
        context: &Context,
        format: Format,
        asked: (&str, &[&str]),
        client: impl FnOnce(Client) -> T + Send + 'static,
    ) -> (Result<bool, String>, T) {
        let pages = self.pages(asked.0, asked.1);
        let (ours, theirs) = Client::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let client = std::thread::spawn(move || client(theirs));
        let sent = self.runtime.block_on(async {
            let mut stream = UnixStream::from_std(ours).unwrap();
            let empty = reply(&json!(7), &format.of_text(String::new()));
            send_pages(&mut stream, context, &empty, pages, Duration::from_millis(200)).await
        });
        (sent, client.join().unwrap())
    }
}

fn read_all(mut stream: Client) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The text of a dump, made as a whole from all megaflows.
fn whole(flows: &[FlowView], params: &[&str]) -> String {
    let filter = params.iter().find_map(|param| param.strip_prefix("filter="));
    let filter = FlowFilter::parse(filter.unwrap_or_default(), &|_| None).unwrap();
    let wants = |view: &&FlowView| {
        filter.passes(&view.flow.matching)
            && (!params.contains(&"type=ovs") || view.placement != flow::Placement::Nic)
    };
    let more = params.contains(&"-m");
    let named = (more || params.contains(&"--names")) && !params.contains(&"--no-names");
    let names = |port: flow::PortId| (named && port.0 == 1).then_some("vf0");
    let lines = flows.iter().filter(wants).map(|view| flow_line(view, more, &names) + "\n");
    lines.collect()
}

#[test]
fn a_reply_in_pages_is_the_reply_made_as_a_whole() {
    for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE] {
        let lab = Lab::new(count);
        let all = lab.context.handle.flows().unwrap();
        assert_eq!(all.len(), count as usize);
        for params in [
            &[][..],
            &["-m"],
            &["-m", "--no-names"],
            &["--names", "filter=tcp,tp_dst=7"],
            &["-m", "filter=tcp,tp_dst=0x40/0x40"],
            &["type=ovs"],
        ] {
            let text = whole(&all, params);
            for format in [Format::Text, Format::Json] {
                let asked = ("dpctl/dump-flows", params);
                let (sent, got) = lab.send(&lab.context, format, asked, read_all);
                assert_eq!(sent, Ok(true));
                assert_eq!(got, reply(&json!(7), &format.of_text(text.clone())), "{params:?}");
            }
        }
        let views: Vec<Flow> = all.iter().map(Flow::from).collect();
        for (params, views) in
            [(["all", ""], &views[..]), (["host", ""], &[]), (["nic", "tcp"], &views)]
        {
            let asked = ("offload/flows", &params[..]);
            let (_, got) = lab.send(&lab.context, Format::Text, asked, read_all);
            let text = serde_json::to_string(views).unwrap() + "\n";
            assert_eq!(got, reply(&json!(7), &Value::String(text)), "{params:?}");
        }
    }
}

#[test]
fn a_text_within_quotes_is_what_the_serializer_makes_of_it() {
    let pieces =
        ["", "a", "\n", "\"", "\\", "\r", "\t", "\0", "\u{1f}", " ", "\u{7f}", "é", "\u{2028}"];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        while state >> 60 != 0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text += pieces[(state >> 33) as usize % pieces.len()];
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        assert_eq!(format!("\"{}\"", within_quotes(&text)), Value::from(text).to_string());
    }
}

#[test]
fn a_client_that_goes_or_stops_reading_ends_the_work_for_it() {
    let lab = Lab::new(PAGES * PAGE);
    let (context, asked) = counted(lab.context.clone(), usize::MAX);
    let dump = ("dpctl/dump-flows", &["-m"][..]);
    let (sent, bytes) = lab.send(&context, Format::Text, dump, |stream| read_all(stream).len());
    assert_eq!((sent, asked.take()), (Ok(true), (100, 100 * PAGE as usize)));
    // The socket takes a part of a reply that nobody reads, and that part is far from the whole.
    let leave = |mut stream: Client| stream.read_exact(&mut [0; 100_000]).unwrap();
    let (sent, ()) = lab.send(&context, Format::Text, dump, leave);
    let (pages, _) = asked.take();
    assert!(sent == Ok(false) && pages < 50, "{sent:?} after {pages} pages");
    let (sent, _deaf) = lab.send(&context, Format::Text, dump, |stream| stream);
    let (pages, _) = asked.take();
    assert!(sent == Ok(false) && pages < 50, "{sent:?} after {pages} pages of {bytes} bytes");
}

#[test]
fn a_reply_that_can_t_go_on_is_no_whole_reply() {
    let lab = Lab::new(PAGES * PAGE);
    let dump = ("dpctl/dump-flows", &[][..]);
    for last in [0, 1, 60] {
        let (context, _) = counted(lab.context.clone(), last);
        let (sent, got) = lab.send(&context, Format::Text, dump, read_all);
        if last == 0 {
            assert_eq!((sent, got.as_str()), (Err("the daemon is stopping".to_owned()), ""));
        } else {
            assert_eq!(sent, Ok(false));
            assert_eq!(got.matches("\\n").count(), last * PAGE as usize);
            assert!(serde_json::from_str::<Value>(&got).unwrap_err().is_eof());
        }
    }
}
