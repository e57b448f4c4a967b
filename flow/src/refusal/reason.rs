//! The kinds of refusals, as a table.

use serde::{Deserialize, Serialize};

use std::fmt;

macro_rules! reasons {
    ($($variant:ident $code:literal $sentence:literal $fix:literal;)*) => {
        /// The kind of a refusal. The code is stable: metrics and scripts use it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Reason { $(#[doc = $sentence] #[serde(rename = $code)] $variant,)* }

        impl Reason {
            /// All of them: metrics start each at zero.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)* }
            }

            /// A sentence that says what the code stands for.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Reason::$variant => $sentence,)* }
            }

            /// What would bring the megaflow into hardware.
            #[must_use]
            pub fn fix(self) -> &'static str {
                match self { $(Reason::$variant => $fix,)* }
            }
        }
    };
}

reasons! {
    MatchField "match-field"
        "The provider can't match on this field."
        "Leave the field wild.";
    MatchMask "match-mask"
        "The provider can match on this field, but not under this mask."
        "Match the whole field or nothing of it, or match the field that the detail asks for too.";
    MatchValue "match-value"
        "The provider can match on this field under this mask, but not with this value or not \
         together with the rest of the match."
        "Match another value, or do without the field that the detail names.";
    Action "action"
        "The provider does not have this action, or not with this argument."
        "Do without the action: `megaflow explain` with other actions says whether they would go \
         in.";
    SetField "set-field"
        "The provider can't rewrite this field, or not in the packets that the match allows."
        "Match what the detail asks for (the EtherType, the protocol, no fragments), or do not \
         rewrite the field.";
    ActionList "action-list"
        "The provider has the actions, but not in this order or number."
        "Shorten the list, or put the action where the detail says.";
    Port "port"
        "A port of the match or of an output is not on this device."
        "Use ports of one device; for tc, ports whose interfaces belong to one switchdev NIC.";
    Recirculation "recirculation"
        "The provider can't follow the recirculation, or (`chain`) no megaflow with that \
         `recirc_id` is in the same table yet."
        "Nothing for `chain`: the megaflow goes in when one of the next lookup is in. Otherwise \
         answer with one lookup.";
    TableFull "table-full"
        "The table, the masks, the counters or the action memory have no room, or (`crowded`) \
         nearly none."
        "Nothing: the megaflow is tried again later, and the placement policy exchanges it for a \
         slower one. Fewer masks or fewer megaflows leave more room.";
    Device "device"
        "The kernel or the device refused for a reason of its own; the detail has its text."
        "What the text says: turn the interface's `hw-tc-offload` on, say, or use a newer driver.";
    DeviceGone "device-gone"
        "The device does not answer or is gone."
        "Bring the device back: the daemon takes an interface that comes back into use again, and \
         a card when it is started again.";
    Echo "echo"
        "The device holds something else than what was asked for."
        "Nothing on the side of the megaflow: it is an error of the driver or the kernel.";
    Shadowed "shadowed"
        "A rule that is not ours is in the device and is looked up first; the detail names it."
        "Remove that rule or give it a later place: the megaflow is then tried again.";
    Policy "policy"
        "The operator or a policy keeps the megaflow on the host."
        "Change the policy.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
