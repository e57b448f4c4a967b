//! What is at fault in a megaflow or a device.

use serde::{Deserialize, Serialize};

use std::fmt;

use super::ovs_name::OvsName;
use crate::action::ActionKind;
use crate::field::Field;
use crate::id::PortId;
use crate::table::TableName;

macro_rules! subjects {
    ($($variant:ident $word:literal $meaning:literal;)*) => {
        /// What is at fault: a part of the megaflow, a table or another part of the device.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Subject {
            /// A field of the match or of a `set`.
            Field(Field),
            /// An action.
            Action(ActionKind),
            /// The port by which packets come in.
            InPort(PortId),
            /// The port of an output.
            Output(PortId),
            /// A table of the device.
            Table(TableName),
            /// A key or an action that OVS has and Megaflow does not.
            Ovs(OvsName),
            $(#[doc = $meaning] $variant,)*
        }

        /// The words for subjects that are neither a name of ODP text nor a table, and what they
        /// mean.
        pub(super) const WORDS: &[(&str, &str)] = &[$(($word, $meaning),)*];

        impl fmt::Display for Subject {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Subject::Field(field) => f.write_str(field.name()),
                    Subject::Action(kind) => f.write_str(kind.name()),
                    Subject::InPort(port) => write!(f, "in_port {port}"),
                    Subject::Output(port) => write!(f, "output {port}"),
                    Subject::Table(table) => f.write_str(table.name()),
                    Subject::Ovs(name) => name.fmt(f),
                    $(Subject::$variant => f.write_str($word),)*
                }
            }
        }
    };
}

subjects! {
    Drop "drop" "The drop that an empty list of actions stands for.";
    ActionCount "number of actions" "The length of the list of actions.";
    ActionBytes "action bytes" "The size of the list of actions in the device.";
    Nesting "nesting" "The depth of the lists of actions.";
    Chain "chain" "The lookup to which a recirculation leads.";
    Crowded "crowded" "The tables that can hold the megaflow are nearly full.";
    Evicted "evicted" "The place of the megaflow, which a faster one took.";
    Device "device" "The whole device.";
    Busy "busy" "The device, for the moment.";
    DeviceTable "table" "The content of the device's table.";
    Card "card" "The card, which answered with an error.";
    Tc "tc" "The kernel's tc, or the driver behind it.";
    Qdisc "clsact" "The qdisc that holds an interface's filters.";
    Filter "filter" "The filter that the megaflow became.";
    InHardware "in_hw" "The mark by which the kernel says that a filter is in hardware.";
    OtherFilter "tc filter" "A filter of another tool.";
    Priorities "tc priorities" "The priorities that are left for filters.";
}

impl From<Field> for Subject {
    fn from(field: Field) -> Subject {
        Subject::Field(field)
    }
}

impl From<ActionKind> for Subject {
    fn from(kind: ActionKind) -> Subject {
        Subject::Action(kind)
    }
}

impl From<TableName> for Subject {
    fn from(table: TableName) -> Subject {
        Subject::Table(table)
    }
}
