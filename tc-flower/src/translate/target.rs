//! What translation knows of the device.

use std::collections::BTreeMap;

use flow::{PortId, Reason, Refusal, Subject};

/// The interface of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortDevice {
    /// The kernel's number.
    pub ifindex: u32,
    /// The interface's name, for `explain`.
    pub name: String,
    /// The switch that the interface is a port of.
    pub switch_id: String,
}

/// The part of the device's configuration that translation needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// The ports that have an interface on a switch.
    pub ports: BTreeMap<PortId, PortDevice>,
    /// True if chains can be used for recirculation ids.
    pub recirculation: bool,
}

impl Target {
    /// Returns the interface of the port by which packets come in.
    pub(crate) fn device(&self, port: PortId) -> Result<&PortDevice, Refusal> {
        self.ports.get(&port).ok_or_else(|| {
            Refusal::new(Reason::Port, Subject::InPort(port))
                .detail(&"the port has no interface on a switchdev NIC")
        })
    }
}
