//! Shows ports by name in the text of a flow.

use std::collections::BTreeMap;

use flow::{Action, PortId, odp};

use crate::status::Status;

/// The port names that a text can show. A name that would not be read back as its port (such as
/// `drop`, `7up` or `a,b`) is left out, and its port is shown by number.
#[derive(Default)]
pub(super) struct PortNames(BTreeMap<PortId, String>);

impl PortNames {
    pub(super) fn of(status: &Status) -> PortNames {
        let ports = status.ports.iter().map(|port| (port.id, port.name.clone()));
        PortNames(ports.filter(|(id, name)| reads_back(*id, name)).collect())
    }

    pub(super) fn find(&self, port: PortId) -> Option<&str> {
        self.0.get(&port).map(String::as_str)
    }
}

/// Returns true if the name is read back as its port. `#` starts a comment in a file of flows.
fn reads_back(id: PortId, name: &str) -> bool {
    let actions = odp::parse_actions_with(name, &|found| (found == name).then_some(id));
    !name.contains('#') && actions.is_ok_and(|actions| *actions == [Action::Output(id)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_read_as_something_else_are_left_out() {
        for (name, fits) in [
            ("left", true),
            ("vf0.100", true),
            ("pf0vf0-rep@if7", true),
            ("drop", false),
            ("Drop", false),
            ("pop_vlan", false),
            ("7", false),
            ("7up", false),
            ("a,b", false),
            ("trunc(64)", false),
            ("a#b", false),
            ("dp-extra-info:", false),
        ] {
            assert_eq!(reads_back(PortId(9), name), fits, "{name}");
        }
    }
}
