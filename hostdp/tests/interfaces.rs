//! The ports that are interfaces of the kernel, on real ones: veth pairs and TAPs in network
//! namespaces of the test's own, with traffic from ordinary sockets.
//!
//! Needs root or a user namespace. Where neither is allowed the tests fail and say so, unless
//! `MEGAFLOW_UNPRIVILEGED` is set: then they are skipped, and print the same.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod lab;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use flow::{Action, Clock, Field, Generation, Key, Mask, Op, Submission};
use hostdp::port::system::SystemPort;
use hostdp::port::tap::TapPort;
use hostdp::port::{Batch, LinkState, Port, Taken, TxReport};
use hostdp::worker::{Reply, WorkerEvent};
use hostdp::{Datapath, DatapathSettings, DropReason, Resolution};
use lab::{Host, PATIENCE, Running, Stage, install, ip, megaflow, until};

/// Two hosts behind two system ports.
fn two_hosts(stage: &Stage) -> (Datapath, Host, Host) {
    let (one, other) = (stage.host("p1", "10.9.0.1"), stage.host("p2", "10.9.0.2"));
    let mut datapath = Datapath::new(DatapathSettings::default());
    for (n, name) in [(1, "p1"), (2, "p2")] {
        let port = SystemPort::open(name).unwrap();
        datapath.add_port(flow::PortId(n), Box::new(port)).unwrap();
    }
    (datapath, one, other)
}

fn forward_all(datapath: &mut Datapath) {
    install(
        datapath,
        &megaflow(1, Key::default(), Mask::default(), &[Action::Output(flow::PortId(2))]),
    );
    install(
        datapath,
        &megaflow(2, Key::default(), Mask::default(), &[Action::Output(flow::PortId(1))]),
    );
}

/// Sends bytes from a client's socket to a server's through the datapath.
fn bulk(
    datapath: &mut Datapath,
    server: impl FnOnce(Job) -> Running<Vec<u8>>,
    client: impl FnOnce(Job) -> Running<Vec<u8>>,
    address: &'static str,
) {
    const BYTES: usize = 16 << 20;
    let received = server(Box::new(|| {
        let listener = TcpListener::bind("10.9.0.2:5001").unwrap();
        let mut all = Vec::with_capacity(BYTES);
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        all
    }));
    let sent = client(Box::new(move || {
        let address = address.parse().unwrap();
        let data: Vec<u8> = (0..BYTES).map(|n| (n * 7 / 3) as u8).collect();
        lab::retry(|| TcpStream::connect_timeout(&address, PATIENCE)).write_all(&data).unwrap();
        data
    }));
    until(datapath, || received.is_finished());
    assert!(received.join() == sent.join(), "what arrived is what was sent");
    let snapshot = datapath.snapshot();
    assert!(snapshot.ledger.is_exact(), "{:?}", snapshot.ledger);
    let tcp = snapshot.ports[0].received;
    assert!(tcp.bytes > BYTES as u64);
    // The frames count as what they are on a wire.
    assert!(tcp.bytes / tcp.packets <= 1518, "{tcp:?}");
    let long = snapshot.drops.get(DropReason::TxTooLong);
    assert!(long.is_zero(), "{long:?}");
    // And yet they went through in one piece: a lookup is one of a frame.
    assert!(snapshot.lookups_at_depth[0] < tcp.packets / 2, "{:?} {tcp:?}", snapshot.lookups);
}

type Job = Box<dyn FnOnce() -> Vec<u8> + Send>;

#[test]
fn bulk_tcp_with_offloads_on_arrives_whole() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        let (mut datapath, client, server) = two_hosts(stage);
        forward_all(&mut datapath);
        bulk(&mut datapath, |job| server.run(job), |job| client.run(job), "10.9.0.2:5001");
    });
}

/// The same where each frame gets other addresses, another port and, for a while, a tag.
#[test]
fn bulk_tcp_is_rewritten_in_large_frames() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        let (mut datapath, client, server) = two_hosts(stage);
        server.run(|| ip("link set eth0 address 02:00:00:00:00:02")).join();
        client.run(|| ip("neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth0")).join();
        let there = "set(eth(dst=02:00:00:00:00:02)),set(ipv4(dst=10.9.0.2,ttl=9)),\
                     set(tcp(dst=5001)),push_vlan(vid=5,pcp=0),set(ipv4(tos=0x20/0xfc)),pop_vlan,2";
        let back = "set(ipv4(src=10.9.0.9)),set(tcp(src=5999)),push_vlan(vid=5,pcp=0),recirc(7)";
        for (port, eth_type, actions) in
            [(1, 0x800, there), (1, 0x806, "2"), (2, 0x800, back), (2, 0x806, "1")]
        {
            let proto = if eth_type == 0x800 { 6 } else { 0 };
            let key = Key { eth_type, ip_proto: proto, ..Key::default() };
            let mut mask = Key::mask_of(&[Field::EthType]);
            mask.ip_proto = if proto == 0 { 0 } else { 0xff };
            let actions = flow::odp::parse_actions(actions).unwrap();
            install(&mut datapath, &megaflow(port, key, mask, &actions));
        }
        let tagged = Key { recirc_id: flow::RecircId(7).0, ..Key::default() };
        let actions = flow::odp::parse_actions("pop_vlan,1").unwrap();
        install(&mut datapath, &megaflow(2, tagged, Mask::default(), &actions));
        bulk(&mut datapath, |job| server.run(job), |job| client.run(job), "10.9.0.9:5999");
    });
}

/// From the host itself, through an `internal` port, and back.
#[test]
fn bulk_tcp_of_an_internal_port_arrives_whole() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        let server = stage.host("p2", "10.9.0.2");
        let mut datapath = Datapath::new(DatapathSettings::default());
        let internal = TapPort::open_internal("br9").unwrap();
        ip("addr add 10.9.0.1/24 dev br9");
        datapath.add_port(flow::PortId(1), Box::new(internal)).unwrap();
        let system = SystemPort::open("p2").unwrap();
        datapath.add_port(flow::PortId(2), Box::new(system)).unwrap();
        forward_all(&mut datapath);
        let here = |job| Running::start(job);
        bulk(&mut datapath, |job| server.run(job), here, "10.9.0.2:5001");
    });
}

/// A worker with a client that installs one megaflow per upcall: the first packet of each flow
/// takes the way through the client, the rest do not, and nobody waits for a timer.
#[test]
fn a_worker_wakes_for_packets() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        let (datapath, client, server) = two_hosts(stage);
        let clock = Clock::start();
        let worker = hostdp::worker::spawn(vec![datapath], &clock, &[]).unwrap();
        let echo = server.run(|| {
            let socket = UdpSocket::bind("10.9.0.2:5005").unwrap();
            let mut buffer = [0; 100];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
                if &buffer[..length] == b"end" {
                    return;
                }
            }
        });
        let times = client.run(|| {
            let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut times: Vec<Duration> = (0..60_u8)
                .map(|n| {
                    // Far enough apart that the worker sleeps in between.
                    std::thread::sleep(Duration::from_millis(3));
                    let clock = Clock::start();
                    lab::retry(|| {
                        socket.send_to(&[n], "10.9.0.2:5005")?;
                        let mut answer = [0; 100];
                        // Answers to what was sent again come late.
                        while socket.recv(&mut answer)? != 1 || answer[0] != n {}
                        std::io::Result::Ok(())
                    });
                    clock.elapsed()
                })
                .collect();
            socket.send_to(b"end", "10.9.0.2:5005").unwrap();
            times.sort();
            times
        });
        let mut upcalls = 0;
        while !(times.is_finished() && echo.is_finished()) {
            assert!(clock.elapsed() < PATIENCE);
            let event = worker.events().recv_timeout(Duration::from_millis(10));
            let Ok(WorkerEvent::Upcalls(batch)) = event else { continue };
            for upcall in batch.read() {
                upcalls += 1;
                let out = Action::Output(flow::PortId(3 - upcall.port.0));
                let mask = Key::mask_of(&[Field::EthDst, Field::EthType]);
                let flow = megaflow(upcall.port.0, upcall.key, mask, &[out]);
                let install = Op::Install { flow, generation: Generation(0) };
                worker
                    .handle()
                    .apply(Submission::number([install]).collect(), Reply::ignored())
                    .unwrap();
                let answer = (upcall.id.unwrap(), Resolution::Reinject);
                worker.handle().resolve(vec![answer]).unwrap();
            }
        }
        let times = times.join();
        assert!(times[30] < Duration::from_millis(50), "median {:?}, a timer's", times[30]);
        let snapshot = worker.stop().unwrap()[0].snapshot();
        assert!(snapshot.ledger.is_exact(), "{:?}", snapshot.ledger);
        assert!(snapshot.ledger.fresh.hits_first_pass.packets >= 122, "there and back");
        assert!(upcalls < 60 && snapshot.flows == upcalls, "{upcalls} {}", snapshot.flows);
    });
}

#[test]
fn stripped_vlan_tags_come_back() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("link set v1 up");
        let mut near = SystemPort::open("v0").unwrap();
        let mut far = SystemPort::open("v1").unwrap();
        wait_up(&mut near);
        wait_up(&mut far);
        // One tag, two, and a priority tag alone; the kernel takes the outer one out of each.
        let tags: [&[u8]; 3] = [
            &[0x81, 0x00, 0x60, 0x05],
            &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x09],
            &[0x81, 0x00, 0xe0, 0x00],
        ];
        for tags in tags {
            let mut frame = [&[0x22; 12][..], tags, &[0x88, 0xb5]].concat();
            frame.resize(80, 0x22);
            let mut report = TxReport::default();
            near.transmit(&mut vec![flow::packet::Packet::new(&frame)], &mut report);
            assert_eq!(receive(&mut far, 0x22, 1), [frame]);
        }
    });
}

#[test]
fn an_interface_goes_down_away_and_comes_back() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("link set v1 up");
        let mut near = SystemPort::open("v0").unwrap();
        let mut far = SystemPort::open("v1").unwrap();
        wait_up(&mut near);
        wait_up(&mut far);
        assert_eq!((near.state(), near.mtu()), (LinkState::Up, Some(1500)));
        assert_eq!(transmit(&mut near, 60), Ok(60));
        assert_eq!(receive(&mut far, 0x11, 1).len(), 1);
        assert_eq!(receive(&mut near, 0x11, 0).len(), 0, "never what it sent itself");
        assert_eq!(transmit(&mut near, 1515), Err("tx-too-long"));
        assert_eq!(transmit(&mut near, 1514), Ok(1514));

        ip("link set v0 down");
        assert_eq!(transmit(&mut near, 60), Err("port-down"));
        receive(&mut near, 0x11, 0);
        assert_eq!(
            (near.state(), near.trouble()),
            (LinkState::Down, Some("interface v0 is set down"))
        );
        ip("link set v0 up");
        wait_up(&mut near);
        assert_eq!(transmit(&mut near, 60), Ok(60));

        ip("link del v0");
        assert_eq!(transmit(&mut near, 60), Err("port-down"));
        receive(&mut near, 0x11, 0);
        near.check();
        assert_eq!(near.state(), LinkState::Gone);
        assert_eq!(near.trouble(), Some("there is no interface v0 any more"));
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("link set v1 up");
        wait_up(&mut near);
        wait_up(&mut far);
        assert_eq!(receive(&mut far, 0x11, 2).len(), 2, "what had come before it was gone");
        assert_eq!(transmit(&mut near, 60), Ok(60));
        assert_eq!(receive(&mut far, 0x11, 1).len(), 1);

        let error = SystemPort::open("nothing").map(drop).unwrap_err().to_string();
        assert_eq!(
            error,
            "port nothing: there is no interface nothing: make it, or correct the port's device"
        );
        let error = SystemPort::open("a name").map(drop).unwrap_err().to_string();
        assert!(error.starts_with("port a name: the name of an interface has"), "{error}");
    });
}

/// The socket loses its interface in each of these, and nothing that has a name or a number shows
/// it: the same ones are there again before anybody looks.
#[test]
fn an_interface_with_the_same_number_is_another_interface() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        ip("link add v0 index 70 type veth peer name v1");
        let elsewhere = stage.host("unused", "10.9.0.1");
        let mut near = SystemPort::open("v0").unwrap();
        let mut far = SystemPort::open("v1").unwrap();
        let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        let replace = || {
            ip("link del v0");
            ip("link add v0 index 70 type veth peer name v1");
        };
        let leave_and_return = || {
            ip(&format!("link set v0 netns {}", elsewhere.thread_id));
            let here = here.clone();
            elsewhere.run(move || ip(&format!("link set v0 netns {here}"))).join();
            assert_eq!(lab::index("v0"), 70);
        };
        for lose in [&replace as &dyn Fn(), &leave_and_return] {
            ip("link set v0 up");
            ip("link set v1 up");
            wait_up(&mut near);
            wait_up(&mut far);
            assert_eq!(transmit(&mut near, 60), Ok(60));
            assert_eq!(receive(&mut far, 0x11, 1).len(), 1);
            lose();
            ip("link set v0 up");
            ip("link set v1 up");
            receive(&mut near, 0x11, 0);
            assert_eq!(transmit(&mut near, 60), Err("port-down"));
            assert_eq!(near.state(), LinkState::Gone);
            wait_up(&mut near);
            wait_up(&mut far);
            assert_eq!(transmit(&mut near, 60), Ok(60));
            assert_eq!(receive(&mut far, 0x11, 1).len(), 1, "both ends work again");
            assert_eq!(transmit(&mut far, 61), Ok(61));
            assert_eq!(receive(&mut near, 0x11, 1).len(), 1);
        }
    });
}

#[test]
fn an_interface_with_another_name_stays_the_ports() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("link set v1 up");
        let mut near = SystemPort::open("v0").unwrap();
        let mut tap = TapPort::open_internal("br7").unwrap();
        wait_up(&mut near);
        for (from, to) in [("v0", "v9"), ("br7", "br9")] {
            ip(&format!("link set {from} down"));
            ip(&format!("link set {from} name {to}"));
            ip(&format!("link set {to} up"));
        }
        ip("link add v0 type veth peer name w1");
        lab::retry(|| {
            near.check();
            if near.state() == LinkState::Up { Ok(()) } else { Err(near.state()) }
        });
        tap.check();
        assert_eq!(near.trouble(), Some("interface v0 is called v9 now"));
        assert_eq!(transmit(&mut near, 60), Ok(60));
        assert_eq!(
            (tap.state(), tap.trouble()),
            (LinkState::Up, Some("interface br7 is called br9 now"))
        );
        assert_eq!(transmit(&mut tap, 60), Ok(60));
        ip("link set v9 down");
        near.check();
        assert_eq!(near.trouble(), Some("interface v9 is set down"));
    });
}

#[test]
fn an_interface_belongs_to_one_port() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        ip("link add v0 index 70 type veth peer name v1");
        ip("link property add dev v0 altname another");
        let mut first = SystemPort::open("v0").unwrap();
        let refused =
            |name: &str| SystemPort::open_as("p", name).map(drop).unwrap_err().to_string();
        let ours =
            |name| format!("port p: interface {name} belongs to another port of this process");
        assert_eq!(refused("v0"), ours("v0"));
        assert_eq!(refused("another"), ours("another"));
        ip("link set v0 name v9");
        assert_eq!(refused("v9"), ours("v9"));
        // The same number in another namespace is another interface.
        stage.run(|_| {
            ip("link add v0 index 70 type veth peer name w2");
            drop(SystemPort::open("v0").unwrap());
        });
        // What the port lost is free, and what another one has by then it does not get.
        ip("link del v9");
        ip("link add v0 index 70 type veth peer name w3");
        first.check();
        assert_eq!(refused("v0"), ours("v0"));
        ip("link del v0");
        first.check();
        ip("link add v0 index 70 type veth peer name w4");
        let second = lab::retry(|| SystemPort::open("v0"));
        first.check();
        assert_eq!(
            (first.state(), first.trouble()),
            (LinkState::Gone, Some("interface v0 belongs to another port of this process"))
        );
        drop(second);
        lab::retry(|| {
            first.check();
            if first.state() == LinkState::Gone {
                Err(first.trouble().map(str::to_owned))
            } else {
                Ok(())
            }
        });
    });
}

/// More frames than the interface's queue holds, while nobody fetches them.
#[test]
fn what_a_tap_loses_before_the_port_fetches_it_is_counted() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        let mut port = TapPort::open_internal("br7").unwrap();
        ip("link set br7 addrgenmode none txqueuelen 100");
        ip("addr add 10.7.0.1/24 dev br7");
        ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev br7");
        receive(&mut port, 0, 0);
        port.overruns();
        let socket = UdpSocket::bind("10.7.0.1:5003").unwrap();
        for _ in 0..1000 {
            socket.send_to(&[0x77], "10.7.0.2:5004").unwrap();
        }
        let fetched = receive(&mut port, 0x77, 50).len() as u64;
        let lost = port.overruns();
        assert!(lost > 100, "{lost}");
        assert_eq!(fetched + lost, 1000);
        assert_eq!(port.overruns(), 0, "each is told once");
    });
}

#[test]
fn a_tap_and_an_internal_port_talk_to_the_kernel() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|stage| {
        let mut tap = TapPort::open("tap7").unwrap();
        assert_eq!((tap.kind().name(), tap.state()), ("tap", LinkState::Down));
        assert_eq!(transmit(&mut tap, 60), Err("port-down"));
        let mut port = TapPort::open_internal("br7").unwrap();
        assert_eq!((port.kind().name(), port.state()), ("internal", LinkState::Up));
        ip("addr add 10.7.0.1/24 dev br7");
        ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev br7");
        let socket = UdpSocket::bind("10.7.0.1:5003").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.send_to(b"down", "10.7.0.2:5004").unwrap();
        let request = receive_where(&mut port, |key| key.tp_dst == 5004);
        assert_eq!(&request[request.len() - 4..], b"down");

        // The same frame back, addresses and ports exchanged: sums stay what they are.
        let mut reply = request.clone();
        for (a, b, size) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            for n in 0..size {
                reply.swap(a + n, b + n);
            }
        }
        let mut report = TxReport::default();
        port.transmit(&mut vec![flow::packet::Packet::new(&reply)], &mut report);
        assert_eq!(report.sent.packets, 1);
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"down"[..], "10.7.0.2:5004"));
        assert_eq!(transmit(&mut port, 1523), Err("tx-too-long"));

        let twin = TapPort::open("br7").map(drop).unwrap_err().to_string();
        let owned = "interface br7 belongs to another port of this process";
        assert_eq!(twin, format!("port br7: {owned}"));
        let system = SystemPort::open_as("p", "br7").map(drop).unwrap_err().to_string();
        assert_eq!(system, format!("port p: {owned}"));
        ip("link del br7");
        assert_eq!(transmit(&mut port, 60), Err("port-down"));
        receive(&mut port, 0, 0);
        assert_eq!((port.state(), port.readable().is_none()), (LinkState::Gone, true));
        assert_eq!(port.trouble(), Some("interface br7 was deleted"));
        // Somebody else's of that name is not the port's.
        ip("link add br7 type veth peer name w5");
        port.check();
        assert_eq!(port.state(), LinkState::Gone);
        assert!(port.trouble().unwrap().starts_with("interface br7 was deleted: "));
        ip("link del br7");
        port.check();
        assert_eq!((port.state(), port.trouble()), (LinkState::Up, None));
        assert_eq!(transmit(&mut port, 60), Ok(60));
        // It follows its interface into another namespace.
        let elsewhere = stage.host("unused", "10.9.0.1");
        ip(&format!("link set br7 netns {}", elsewhere.thread_id));
        port.check();
        assert_eq!(
            (port.state(), port.trouble()),
            (LinkState::Down, Some("interface br7 is set down"))
        );
        elsewhere.run(|| ip("link set br7 up")).join();
        port.check();
        assert_eq!((port.state(), transmit(&mut port, 60)), (LinkState::Up, Ok(60)));
        drop(tap);
        // A closed port leaves no interface behind, once no child of another test's has a copy
        // of its descriptor between fork and exec.
        drop(lab::retry(|| TapPort::open("tap7")));
    });
}

/// Sends one frame of that length: its length, or the reason why not.
fn transmit(port: &mut dyn Port, length: usize) -> Result<u64, &'static str> {
    let mut frame = vec![0x11; length];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut frames = vec![flow::packet::Packet::new(&frame)];
    let mut report = TxReport::default();
    port.transmit(&mut frames, &mut report);
    match report.dropped.first() {
        Some((reason, what)) => {
            assert_eq!((what.packets, what.bytes, report.sent.packets), (1, length as u64, 0));
            Err(reason.name())
        }
        None => Ok(report.sent.bytes),
    }
}

/// Waits until the port is up: the kernel tells of a carrier up to a second after it is there.
#[track_caller]
fn wait_up(port: &mut SystemPort) {
    lab::retry(|| {
        port.check();
        if port.state() == LinkState::Up { Ok(()) } else { Err(port.trouble().unwrap().to_owned()) }
    });
    assert_eq!(port.trouble(), None);
}

/// Waits for that many frames whose last byte is that one, and a little for more; returns all of
/// them. The kernel's own multicasts, which are IPv6, are passed over. A veth hands over in its
/// own time.
fn receive(port: &mut dyn Port, last: u8, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let clock = Clock::start();
    while clock.elapsed() < if all.len() < count { PATIENCE } else { Duration::from_millis(20) } {
        let mut batch = Batch::new();
        port.receive(&mut batch);
        let Taken { frames, pool, .. } = batch.take();
        let ours = |frame: &[u8]| frame[12..14] != [0x86, 0xdd] && frame.last() == Some(&last);
        for frame in frames {
            pool.finish(frame.packet, |whole| {
                if ours(whole.bytes()) {
                    all.push(whole.bytes().to_vec());
                }
            });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}

/// The first frame with such a key, as it is on a wire.
fn receive_where(port: &mut dyn Port, wanted: impl Fn(&Key) -> bool) -> Vec<u8> {
    let clock = Clock::start();
    while clock.elapsed() < PATIENCE {
        let mut batch = Batch::new();
        port.receive(&mut batch);
        for frame in batch.frames() {
            if wanted(&flow::packet::extract(frame.packet.bytes())) {
                let mut whole = flow::packet::Packet::default();
                frame.packet.segment(0, &mut whole);
                return whole.bytes().to_vec();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing within {PATIENCE:?}");
}
