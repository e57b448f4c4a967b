//! The tables of a provider.

use serde::{Deserialize, Serialize};

macro_rules! tables {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A table of a provider. The names are stable: metrics and refusals use them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum TableName { $(#[doc = $meaning] #[serde(rename = $name)] $variant,)* }

        impl TableName {
            /// All of them.
            pub const ALL: &'static [TableName] = &[$(TableName::$variant,)*];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(TableName::$variant => $name,)* }
            }
        }
    };
}

tables! {
    Megaflow "megaflow" "The megaflows of the host.";
    Flower "flower" "The flower filters of tc.";
    ExactMatch "exact-match" "The megaflows of a card that are found by hashing.";
    MaskedRows "masked-rows" "The megaflows of a card that are compared one by one.";
    Masks "masks" "The masks under which a card hashes.";
    Actions "actions" "The action lists of a card.";
    Counters "counters" "The counters of a card.";
}

/// How full a table is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableUsage {
    /// Which table.
    pub table: TableName,
    /// True for a table of megaflows, false for a table of things that megaflows share: masks,
    /// action lists, counters. A megaflow fits while any of the tables that can hold it has room.
    pub holds_megaflows: bool,
    /// Entries in use.
    pub entries: u64,
    /// Entries that fit; `None` where nobody knows (tc).
    pub capacity: Option<u64>,
}
