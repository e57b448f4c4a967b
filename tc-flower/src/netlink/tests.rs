use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::consts::*;
use super::read::NlAttr;
use super::*;

/// A transport that gives prepared answers.
#[derive(Default)]
struct Script {
    sent: Vec<Vec<u8>>,
    answers: VecDeque<io::Result<Vec<u8>>>,
    queue: usize,
}

const PORT: u32 = 5;

impl Transport for Script {
    fn again(&self) -> io::Result<Script> {
        Ok(Script::default())
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.sent.push(datagram.to_vec());
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, _: Duration) -> io::Result<()> {
        let next = self.answers.pop_front();
        *into = next.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(())
    }

    fn port(&self) -> u32 {
        PORT
    }

    fn queue(&self) -> usize {
        self.queue
    }
}

fn script(answers: Vec<io::Result<Vec<u8>>>) -> RequestSocket<Script> {
    RequestSocket::new(Script { answers: answers.into(), queue: 1 << 20, ..Script::default() })
}

fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(PORT.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Makes an ack: errno, then the request's header, then extended-ack attributes.
fn ack(seq: u32, errno: i32, text: Option<&str>) -> Vec<u8> {
    let mut body = (-errno).to_ne_bytes().to_vec();
    body.extend([0; 16]);
    let mut flags = NLM_F_CAPPED;
    if let Some(text) = text {
        let mut w = Writer::default();
        // An attribute of another kind is ignored.
        w.u32(2, 12);
        w.text(NLMSGERR_ATTR_MSG, text);
        body.extend(w.as_bytes());
        flags |= NLM_F_ACK_TLVS;
    }
    message(NLMSG_ERROR, flags, seq, &body)
}

fn transact(
    answers: Vec<io::Result<Vec<u8>>>,
    requests: usize,
) -> (Vec<RequestOutcome>, Vec<usize>) {
    let mut client = script(answers);
    let mut batch = client.batch();
    for _ in 0..requests {
        batch.add(RTM_NEWTFILTER, NLM_F_ACK, |w| w.raw(&[1, 2, 3, 4])).unwrap();
    }
    let mut echoed = Vec::new();
    let outcomes = client.transact(&batch, &mut |index, _| echoed.push(index)).unwrap();
    (outcomes, echoed)
}

fn refused(errno: i32, text: &str) -> RequestOutcome {
    RequestOutcome::Refused(Nack { errno, text: text.into() })
}

#[test]
fn messages_are_what_the_kernel_wants() {
    let mut w = Writer::default();
    let start = w.message(RTM_NEWTFILTER, NLM_F_ACK, 0x0102_0304);
    w.tcmsg(7, 0, TC_H_INGRESS_FILTERS, read::filter_info(0x1234, ETH_P_8021Q));
    w.text(TCA_KIND, "flower");
    let nest = w.nest(TCA_OPTIONS);
    w.be16(8, 0x0800);
    w.u8(9, 17);
    w.end(nest);
    w.end_message(start);
    #[rustfmt::skip]
    let want = [
        68, 0, 0, 0, 44, 0, 5, 0, 4, 3, 2, 1, 0, 0, 0, 0,
        0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xf2, 0xff, 0xff, 0xff, 0x81, 0x00, 0x34, 0x12,
        11, 0, 1, 0, b'f', b'l', b'o', b'w', b'e', b'r', 0, 0,
        20, 0, 2, 0x80,
        6, 0, 8, 0, 8, 0, 0, 0,
        5, 0, 9, 0, 17, 0, 0, 0,
    ];
    assert_eq!(w.as_bytes(), want);
    let message = Messages(w.as_bytes()).next().unwrap().unwrap();
    let tc = TcMsg::parse(message.payload).unwrap();
    assert_eq!((tc.ifindex, tc.priority, tc.protocol), (7, 0x1234, ETH_P_8021Q));
    let options: NlAttr<'_> = tc.attrs.find(TCA_OPTIONS).unwrap().unwrap();
    assert_eq!(options.nested().find(8).unwrap().unwrap().be16().unwrap(), 0x0800);
    assert!(options.nested().find(9).unwrap().unwrap().be16().is_err(), "a byte is no two");
}

#[test]
fn an_attribute_that_outgrows_its_length_is_not_sent() {
    let mut client = script(vec![Ok(ack(1, 0, None))]);
    let mut batch = client.batch();
    let too_long = batch.add(RTM_NEWTFILTER, 0, |w| w.bytes(1, &[0; 70_000]));
    assert!(matches!(too_long, Err(NetlinkError::TooLong)));
    batch.add(RTM_NEWTFILTER, 0, |w| w.u8(1, 1)).unwrap();
    assert_eq!(client.transact(&batch, &mut |_, _| {}).unwrap(), [RequestOutcome::Done]);
}

#[test]
fn answers_are_matched_by_number_and_keep_the_kernels_words() {
    let echo = message(RTM_NEWTFILTER, 0, 2, &[0; 20]);
    let (outcomes, echoed) = transact(
        vec![
            // An answer to an earlier request comes first, then two answers out of order in one
            // datagram.
            Ok(ack(77, 5, None)),
            Ok([ack(3, 28, Some("flow table full")), ack(1, 0, None)].concat()),
            Ok(echo),
            Ok(ack(2, 95, Some("mlx5_core: no"))),
        ],
        3,
    );
    assert_eq!(
        outcomes,
        [RequestOutcome::Done, refused(95, "mlx5_core: no"), refused(28, "flow table full")]
    );
    assert_eq!(echoed, [1]);
}

#[test]
fn what_is_lost_late_or_mangled_is_unknown_and_nothing_else() {
    let lost = || Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    let (outcomes, _) = transact(vec![Ok(ack(1, 0, None)), lost()], 2);
    assert_eq!(outcomes, [RequestOutcome::Done, RequestOutcome::Unknown]);
    let (outcomes, _) = transact(vec![], 1);
    assert_eq!(outcomes, [RequestOutcome::Unknown]);
    let cut = ack(1, 0, None)[..17].to_vec();
    let (outcomes, _) = transact(vec![Ok(cut), Ok(vec![]), Ok(vec![1, 2, 3])], 1);
    assert_eq!(outcomes, [RequestOutcome::Unknown]);
    // The header names the port of another socket.
    let mut other = ack(1, 0, None);
    other[12] = 9;
    let (outcomes, _) = transact(vec![Ok(other)], 1);
    assert_eq!(outcomes, [RequestOutcome::Unknown]);
}

#[test]
fn extended_acks_are_read_behind_a_copied_request_too() {
    let mut body = (-22i32).to_ne_bytes().to_vec();
    body.extend(message(RTM_NEWTFILTER, 0, 1, &[9; 10])[..26].to_vec());
    body.extend([0, 0]);
    let mut w = Writer::default();
    w.text(NLMSGERR_ATTR_MSG, "no");
    body.extend(w.as_bytes());
    let whole = message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, &body);
    let (outcomes, _) = transact(vec![Ok(whole)], 1);
    assert_eq!(outcomes, [refused(22, "no")]);
}

#[test]
fn batches_fit_the_receive_queue() {
    let mut client = RequestSocket::new(Script { queue: 30 << 10, ..Script::default() });
    let mut batch = client.batch();
    for _ in 0..5 {
        batch.add(RTM_NEWTFILTER, 0, |w| w.u8(1, 1)).unwrap();
    }
    let outcomes = client.transact(&batch, &mut |_, _| {}).unwrap();
    assert_eq!(outcomes.len(), 5);
    // Each answer may take 12 KiB of the queue: two requests at once.
    let script = client.into_transport();
    let sizes: Vec<usize> = script.sent.iter().map(|sent| Messages(sent).count()).collect();
    assert_eq!(sizes, [2, 2, 1]);
}

fn dump(answers: Vec<io::Result<Vec<u8>>>) -> Result<Vec<u32>, NetlinkError> {
    script(answers).dump(
        RTM_GETTFILTER,
        NLM_F_DUMP,
        |_| {},
        Vec::new,
        |all, message| {
            all.push(read::u32_at(message.payload, 0)?);
            Ok(())
        },
    )
}

#[test]
fn dumps_end_with_done_and_are_begun_again_when_interrupted() {
    let part = |seq, flags, n: u32| message(RTM_NEWTFILTER, 2 | flags, seq, &n.to_ne_bytes());
    let done = |seq| message(NLMSG_DONE, 2, seq, &[0; 4]);
    let all = dump(vec![Ok([part(1, 0, 7), part(1, 0, 8)].concat()), Ok(done(1))]).unwrap();
    assert_eq!(all, [7, 8]);
    let answers = vec![
        Ok([part(1, NLM_F_DUMP_INTR, 7), done(1)].concat()),
        Ok([part(2, 0, 9), part(1, 0, 5), done(2)].concat()),
    ];
    assert_eq!(dump(answers).unwrap(), [9]);
    let lost = Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    let answers = vec![Ok(part(1, 0, 1)), lost, Ok(done(1)), Ok(done(2))];
    assert_eq!(dump(answers).unwrap(), Vec::<u32>::new());
}

#[test]
fn a_dump_that_fails_says_why() {
    let refusal = message(NLMSG_DONE, 2, 1, &(-95i32).to_ne_bytes());
    let error = dump(vec![Ok(refusal)]).unwrap_err();
    assert!(matches!(error, NetlinkError::Refused(Nack { errno: 95, .. })), "{error}");
    let short = message(RTM_NEWTFILTER, 2, 1, &[1]);
    let done = message(NLMSG_DONE, 2, 1, &[0; 4]);
    let error = dump(vec![Ok([short, done].concat())]).unwrap_err();
    assert!(matches!(error, NetlinkError::Malformed(_)), "{error}");
    assert!(matches!(dump(vec![]).unwrap_err(), NetlinkError::Socket(_)));
}

#[test]
fn the_kernel_of_this_machine_answers() {
    let mut client = RequestSocket::new(KernelSocket::requests().unwrap());
    let refused = client.request(RTM_DELQDISC, NLM_F_ACK, |w| w.tcmsg(0x7fff_ffff, 0, 1, 0));
    assert!(matches!(refused, Err(NetlinkError::Refused(_))), "{refused:?}");
    assert!(crate::links::list_with(&mut client).unwrap().iter().any(|d| d.name == "lo"));
}

proptest! {
    #[test]
    fn hostile_datagrams_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        transact(vec![Ok(bytes.clone())], 2);
        let _ = dump(vec![Ok(bytes)]);
    }

    #[test]
    fn mangled_acks_are_no_panic(at in 0..60usize, value: u8, cut in 0..60usize) {
        let mut bytes = ack(1, 95, Some("text"));
        let len = bytes.len();
        bytes[at % len] = value;
        bytes.truncate(cut.max(1));
        transact(vec![Ok(bytes)], 1);
    }
}
