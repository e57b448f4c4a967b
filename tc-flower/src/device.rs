//! A network interface, and its name in the configuration.

use std::fmt;

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetDevice {
    /// The kernel's number; never 0.
    pub ifindex: u32,
    /// The interface's name at the time of the listing.
    pub name: String,
    /// The switch that the interface is a port of, as sysfs prints it: lower-case hex without
    /// separators.
    pub switch_id: Option<String>,
    /// The port's name on that switch (`p0`, `pf0vf1`).
    pub phys_port_name: Option<String>,
    /// True if the interface is set up, so that packets can come up to the host by it.
    pub is_up: bool,
}

/// The name of an interface in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceSelector {
    /// The interface's own name.
    Name(String),
    /// The port's place on a switchdev NIC.
    Port {
        /// The switch as sysfs prints it; upper case and `:` are accepted too.
        switch_id: String,
        /// The port's name as sysfs prints it.
        phys_port_name: String,
    },
}

impl DeviceSelector {
    /// Returns true if the selector names this interface.
    #[must_use]
    pub fn selects(&self, device: &NetDevice) -> bool {
        match self {
            DeviceSelector::Name(name) => *name == device.name,
            DeviceSelector::Port { switch_id, phys_port_name } => {
                device.switch_id.as_deref() == Some(plain_hex(switch_id).as_str())
                    && device.phys_port_name.as_deref() == Some(phys_port_name.as_str())
            }
        }
    }
}

impl fmt::Display for DeviceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSelector::Name(name) => f.write_str(name),
            DeviceSelector::Port { switch_id, phys_port_name } => {
                write!(f, "{phys_port_name} of switch {switch_id}")
            }
        }
    }
}

fn plain_hex(text: &str) -> String {
    text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_representor_is_selected_by_switch_and_port_in_any_spelling() {
        let device = NetDevice {
            ifindex: 7,
            name: "eth3".into(),
            switch_id: Some("0c42a1ff".into()),
            phys_port_name: Some("pf0vf1".into()),
            is_up: true,
        };
        let by = |switch_id: &str, phys_port_name: &str| {
            DeviceSelector::Port {
                switch_id: switch_id.into(),
                phys_port_name: phys_port_name.into(),
            }
            .selects(&device)
        };
        assert!(by("0c42a1ff", "pf0vf1") && by("0C:42:A1:FF", "pf0vf1"));
        assert!(!by("0c42a1ff", "pf0vf2") && !by("0c42a1fe", "pf0vf1"));
        assert!(!DeviceSelector::Name("pf0vf1".into()).selects(&device));
    }
}
