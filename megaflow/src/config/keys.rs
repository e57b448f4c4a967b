//! The table of all keys. The reader takes the known keys from it, and the reference page is
//! written from it.

/// One key of the configuration file.
pub struct ConfigKey {
    /// The section of the key, as it is written in the file.
    pub section: &'static str,
    /// The name of the key.
    pub name: &'static str,
    /// The form of the value.
    pub value: &'static str,
    /// The meaning of the key, and what holds without the key.
    pub meaning: &'static str,
}

macro_rules! keys {
    ($($section:literal $name:literal $value:literal $meaning:literal;)*) => {
        /// Every key, in the order of the page.
        pub const KEYS: &[ConfigKey] = &[$(ConfigKey {
            section: $section, name: $name, value: $value, meaning: $meaning,
        },)*];
    };
}

keys! {
    "[datapath]" "name" "string" "Its name: letters, digits, `_`, `.`, `-`. Required.";
    "[datapath]" "workers" "list of numbers"
        "CPU cores, each once: a forwarding thread on each, with its own queue of each port and \
         its own copy of the megaflows. Without it there is one, and the kernel chooses where. \
         See [several workers](../how-to/run.md#on-several-cores).";
    "[datapath]" "client" "`l2` or `none`"
        "Who answers upcalls: the MAC-learning switch (without the key), or nobody.";
    "[datapath]" "flow_limit" "1 to 4000000"
        "The largest number of megaflows; 200000 without it. At the limit, packets without a \
         megaflow are forwarded one by one, and an operator's megaflow is refused.";
    "[datapath]" "max_idle" "100 to 3600000"
        "Milliseconds without a packet after which a client's megaflow is removed; 10000 without \
         it.";
    "[[port]]" "name" "string" "Unique, printable, no spaces. Required.";
    "[[port]]" "type" "`system`, `internal`, `tap`, `pcap`, `fpga`"
        "An interface that exists; a tap interface named like the port; a tap interface with a \
         name of its own; capture files; a wire port of the FPGA card. Required.";
    "[[port]]" "number" "0 to 65279"
        "Its number in megaflows; without it the port's place in the file, from 1.";
    "[[port]]" "device" "string, or `{ switch_id, phys_port_name }`"
        "The interface: of `system` (required; the table finds a representor), of `tap` \
         (the port's name without it), and of `fpga` where the card is the model: what its wire is \
         plugged into.";
    "[[port]]" "io" "`packet` or `xdp`"
        "`system`: how frames come and go, by a packet socket (without the key) or by AF_XDP. \
         Where AF_XDP does not work the port uses the packet socket and says why. See \
         [AF_XDP](../how-to/run.md#through-af_xdp).";
    "[[port]]" "in" "path" "`pcap`: received from the start on.";
    "[[port]]" "out" "path"
        "`pcap`: what is sent is written there, for the owner alone (mode 0600).";
    "[[port]]" "wire" "number" "`fpga`: which wire port, from 0. Required.";
    "device" "switch_id" "hex digits" "As in `/sys/class/net/IF/phys_switch_id`.";
    "device" "phys_port_name" "string" "As in `/sys/class/net/IF/phys_port_name`.";
    "[[provider]]" "kind" "`fpga` or `tc`" "What it drives. One of each kind. Required.";
    "[[provider]]" "device" "PCI address or `model`"
        "`fpga`: the card bound to vfio-pci, or the embedded model. Required.";
    "[[provider]]" "entries" "1 to 4000000"
        "`fpga` with `model`: how many exact-match entries the model has at least (it has a power \
         of two); 8192 without it.";
    "[provider.budget]" "inserts_per_second" "number"
        "The largest number of installs in a second; without it there is no limit.";
    "[l2]" "mac_table_size" "10 to 1000000"
        "Addresses that the MAC-learning switch knows at once; 8192 without it. See \
         [the L2 client](l2.md).";
    "[l2]" "mac_aging_time" "15 to 3600"
        "Seconds for which an address that is not seen stays known; 300 without it.";
    "[control]" "socket" "absolute path"
        "The control socket, `/run/megaflow/megaflow.ctl` without it. `NAME.pid` and \
         `NAME.<pid>.ctl` stand beside it; all are for the owner alone (mode 0600).";
    "[http]" "listen" "ADDRESS:PORT"
        "Metrics, health, JSON and the page; without the section nothing listens.";
    "[http]" "hosts" "list of host names"
        "Names by which clients may ask: what stands in the URL of a scraper, say. Addresses, \
         `localhost` and the machine's own name always may; by any other name nothing is \
         answered, since a page elsewhere could make a browser ask.";
}

/// The names of a section's keys.
pub(super) fn known(section: &str) -> Vec<&'static str> {
    KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect()
}

/// Returns the text of `docs/reference/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         `megaflow.toml`, in TOML. `megaflow check-config F` reads it and touches nothing. \
         An unknown\n\
         key is an error that names its line and the nearest known key. Examples:\n\
         [docs/examples](../examples/).\n\n\
         This page is written from the table in `megaflow/src/config/keys.rs`; a test compares \
         them.\n\n\
         | section | key | value | meaning |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        let ConfigKey { section, name, value, meaning } = key;
        page += &format!("| `{section}` | `{name}` | {value} | {meaning} |\n");
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/config.md");
        if std::env::var_os("MEGAFLOW_WRITE_REFERENCE").is_some() {
            std::fs::write(path, super::reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            page,
            super::reference(),
            "write it anew: MEGAFLOW_WRITE_REFERENCE=1 cargo test -p megaflow keys"
        );
    }
}
