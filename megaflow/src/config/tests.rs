use hostdp::port::system::SystemIo;

use super::*;

const GOOD: &str = r#"
[datapath]
name = "br0"
workers = [1]
client = "l2"

[[port]]
name = "vf0"
type = "system"
device = { switch_id = "0C42a1", phys_port_name = "pf0vf0" }

[[port]]
name = "host"
type = "tap"
number = 7

[[port]]
name = "file"
type = "pcap"
in = "/tmp/in.pcap"

[[port]]
name = "wire0"
type = "fpga"
wire = 0
device = "veth0"

[[provider]]
kind = "fpga"
device = "model"
[provider.budget]
inserts_per_second = 50_000

[[provider]]
kind = "tc"

[l2]
mac_table_size = 1000
mac_aging_time = 60

[control]
socket = "/run/megaflow/megaflow.ctl"
[http]
listen = "127.0.0.1:9464"
hosts = ["SW1.example"]
"#;

#[test]
fn the_example_of_the_contract_is_read() {
    let config = parse("f", GOOD).unwrap();
    assert_eq!(config.datapath.workers, [1]);
    assert_eq!(config.datapath.client, ClientKind::L2);
    let numbers: Vec<u32> = config.ports.iter().map(|port| port.id.0).collect();
    assert_eq!(numbers, [1, 7, 3, 4]);
    let device =
        DeviceSelector::Port { switch_id: "0c42a1".into(), phys_port_name: "pf0vf0".into() };
    assert_eq!(config.ports[0].kind, PortSettings::System { device, io: SystemIo::Packet });
    assert_eq!(config.ports[1].kind, PortSettings::Tap("host".into()));
    let wire = PortSettings::Fpga { wire: 0, device: Some("veth0".into()) };
    assert_eq!(config.ports[3].kind, wire);
    assert_eq!(config.providers[0].inserts_per_second, Some(50_000));
    assert_eq!(config.providers[0].kind, ProviderKind::Fpga(Card::Model { entries: None }));
    assert_eq!(config.l2, L2Settings { max_entries: 1000, ageing: Duration::from_secs(60) });
    let hosts = vec!["sw1.example".to_owned()];
    assert_eq!(config.http, Some(Http { listen: "127.0.0.1:9464".parse().unwrap(), hosts }));
}

#[test]
fn the_least_is_a_name() {
    let config = parse("f", "[datapath]\nname = 'x'").unwrap();
    assert_eq!(config.control, Control::default());
    assert_eq!(config.l2, L2Settings { max_entries: 8192, ageing: Duration::from_secs(300) });
    let DatapathSection { workers, flow_limit, max_idle, .. } = config.datapath;
    assert_eq!((config.http, workers), (None, Vec::new()));
    assert_eq!((flow_limit, max_idle), (200_000, Duration::from_secs(10)));
}

/// Changes to the good text, each with the line and the words of the resulting error.
const BAD: &[(&str, &str, &str)] = &[
    (
        "workers = [1]",
        "wrokers = [1]",
        "f:4: unknown key 'wrokers' in [datapath]; did you mean 'workers'?",
    ),
    ("workers = [1]", "workers = [1, 2, 1]", "f:4: [datapath]: workers: core 1 is there twice"),
    ("workers = [1]", "workers = []", "f:4: [datapath]: workers: must name a core, or be left out"),
    (
        "workers = [1]",
        "workers = 1",
        "f:4: [datapath]: workers: must be a list of numbers, is integer",
    ),
    ("workers = [1]", "workers = [-1]", "f:4: [datapath]: workers: -1 is not within 0..=1023"),
    (
        "client = \"l2\"",
        "client = \"tables\"",
        "f:5: [datapath]: client: 'tables' is not built yet",
    ),
    ("name = \"br0\"", "name = \"b r\"", "f:3: [datapath]: name: must have letters"),
    ("name = \"br0\"", "", "f:2: [datapath]: the key 'name' is missing"),
    (
        "type = \"system\"",
        "type = \"sistem\"",
        "f:9: [[port]]: type: unknown type 'sistem'; did you mean 'system'?",
    ),
    ("type = \"system\"", "type = \"vxlan\"", "f:9: [[port]]: type: 'vxlan' is not built yet"),
    ("type = \"system\"", "type = 7", "f:9: [[port]]: type: must be a string, is integer"),
    ("switch_id = \"0C42a1\",", "", "f:10: device: the key 'switch_id' is missing"),
    ("switch_id = \"0C42a1\"", "switch_id = \"xyz\"", "f:10: device: switch_id: only hex digits"),
    ("name = \"host\"", "name = \"vf0\"", "f: two ports are named 'vf0'"),
    ("number = 7", "number = 1", "f: the ports 'vf0' and 'host' both have number 1"),
    ("number = 7", "wire = 1", "[[port]]: wire: not for type tap"),
    ("number = 7", "io = 'xdp'", "[[port]]: io: not for type tap"),
    ("type = \"system\"", "type = \"system\"\nio = 'dpdk'", "io: unknown word 'dpdk': expected"),
    ("number = 7", "device = 'averylonginterfacename'", "is no interface name"),
    ("number = 7", "device = 'veth0'", "f: the ports 'host' and 'wire0' both use veth0"),
    ("in = \"/tmp/in.pcap\"", "", "a pcap port needs 'in', 'out' or both"),
    ("device = \"veth0\"", "", "f: port 'wire0': the model's wire 0 needs an interface"),
    ("wire = 0\n", "", "[[port]]: the key 'wire' is missing"),
    ("device = \"model\"", "device = \"0000:03:00\"", "'0000:03:00' is no PCI address"),
    ("device = \"model\"", "device = \"3:00.0\"", "'3:00.0' is no PCI address"),
    (
        "device = \"model\"",
        "device = \"03:00.0\"",
        "f: port 'wire0': 'device' is for the model only",
    ),
    ("kind = \"tc\"", "kind = \"tc\"\ndevice = 'x'", "not for kind tc"),
    ("kind = \"tc\"", "kind = \"fpga\"\ndevice = 'model'", "f: two providers of kind fpga"),
    (
        "kind = \"fpga\"\ndevice = \"model\"",
        "kind = \"dpdk\"",
        "unknown provider 'dpdk': expected fpga or tc",
    ),
    ("inserts_per_second", "inserts_per_sec", "did you mean 'inserts_per_second'?"),
    ("= 50_000", "= 0", "0 is not within 1..="),
    ("workers = [1]", "workers = [1]\nflow_limit = 0", "0 is not within 1..=4000000"),
    ("workers = [1]", "workers = [1]\nmax_idle = 99", "99 is not within 100..=3600000"),
    ("mac_table_size = 1000", "mac_table_size = 9", "9 is not within 10..=1000000"),
    ("mac_aging_time = 60", "mac_aging_time = 3601", "3601 is not within 15..=3600"),
    (
        "client = \"l2\"",
        "client = \"none\"",
        "f:37: [l2] is for client = \"l2\", but client is \"none\"",
    ),
    ("socket = \"/run", "socket = \"run", "[control]: socket: must be an absolute path"),
    ("127.0.0.1:9464", "localhost", "'localhost': expected ADDRESS:PORT"),
    ("\"SW1.example\"", "\"sw1:9464\"", "[http]: hosts: 'sw1:9464' is no host name"),
    ("[\"SW1.example\"]", "\"sw1\"", "[http]: hosts: must be a list of strings, is string"),
    ("\"SW1.example\"", "7", "[http]: hosts: must be a list of strings, is integer"),
    ("[http]", "[html]", "unknown key 'html' in the file; did you mean 'http'?"),
    ("[http]", "[http", "f:"),
];

#[test]
fn a_system_port_can_use_af_xdp() {
    let io = |word: &str| {
        let text = GOOD.replacen("\"system\"", &format!("\"system\"\nio = \"{word}\""), 1);
        match parse("f", &text).unwrap().ports.remove(0).kind {
            PortSettings::System { io, .. } => io,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([io("packet"), io("xdp")], [SystemIo::Packet, SystemIo::Xdp]);
}

#[test]
fn what_is_wrong_is_one_line_with_its_place() {
    for (good, bad, want) in BAD {
        assert!(GOOD.contains(good), "{good}");
        let text = GOOD.replacen(good, bad, 1);
        let error = match parse("f", &text) {
            Ok(_) => panic!("'{bad}' was taken"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("f:"), "{error}");
        assert!(error.contains(want), "'{bad}' gave: {error}\nwanted: {want}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn fpga_ports_need_their_provider() {
    let text = "[datapath]\nname='x'\n[[port]]\nname='w'\ntype='fpga'\nwire=0\n";
    let error = parse("f", text).unwrap_err().to_string();
    assert!(error.contains("no [[provider]] of kind fpga"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/x.toml: can't be read: "), "{error}");
}

#[test]
fn the_examples_in_docs_are_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "toml")) {
        load(file).unwrap();
    }
}
