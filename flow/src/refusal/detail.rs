//! What is known of a refusal beyond its reason and its subject.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::field::Field;
use crate::id::RecircId;
use crate::table::TableUsage;

/// A sentence that the program has as a constant. A reference to the reference takes one word,
/// where a `&str` takes two: each of a million megaflows may hold a few.
pub type Words = &'static &'static str;

/// What was said, what is at fault, or what would make the megaflow possible in hardware. It
/// becomes text only where it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Detail {
    /// Reason and subject say everything.
    #[default]
    None,
    /// A sentence.
    Words(Words),
    /// A sentence with a field in the place of its `{}`.
    OfField(Words, Field),
    /// A sentence with a number in the place of its `{}`, in hexadecimal.
    OfHex(Words, u32),
    /// A sentence with a number in the place of its `{}`, in decimal.
    OfNumber(Words, u32),
    /// More than the provider takes.
    TooMany {
        /// What was counted.
        what: Unit,
        /// How many there are; the last number of 32 bits stands for all higher ones.
        have: u32,
        /// How many there may be.
        most: u32,
    },
    /// The mask of a field of which the device takes all bits or none.
    PartialMask(Arc<u128>),
    /// The recirculation id without a megaflow in hardware.
    Waiting(RecircId),
    /// The tables without room.
    Full(Arc<Full>),
    /// What the device, its driver or the kernel said.
    Said(Said),
}

/// What a provider counts and limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Actions of the megaflow.
    Actions,
    /// Actions of the device, of which an action of the megaflow may take several.
    DeviceActions,
    /// Bytes of the device's action memory.
    Bytes,
    /// Bytes of an action's user data.
    UserData,
    /// Words of headers that are rewritten.
    Words,
}

/// A refusal for want of room, with the tables at the time of the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Full {
    /// The detail of the refusal itself.
    pub why: Detail,
    /// The tables that it is about.
    pub tables: Vec<TableUsage>,
}

/// Text from outside the program. Clones share it, and it takes one word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said(Arc<Box<str>>);

impl Detail {
    /// A detail that says how many there are of something, and how many there may be.
    #[must_use]
    pub fn too_many(what: Unit, have: usize, most: usize) -> Detail {
        Detail::TooMany { what, have: low(have), most: low(most) }
    }

    /// A sentence with a number in the place of its `{}`, in decimal.
    #[must_use]
    pub fn of_number(words: Words, number: usize) -> Detail {
        Detail::OfNumber(words, low(number))
    }
}

/// The number in 32 bits; the last one stands for all higher ones.
fn low(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::None => Ok(()),
            Detail::Words(words) => f.write_str(words),
            Detail::OfField(words, field) => fill(f, words, format_args!("{}", field.name())),
            Detail::OfHex(words, number) => fill(f, words, format_args!("{number:#06x}")),
            Detail::OfNumber(words, number) => fill(f, words, format_args!("{number}")),
            Detail::TooMany { what, have, most } => {
                write!(f, "{have} {}, at most {most}", what.name())
            }
            Detail::PartialMask(mask) => {
                write!(
                    f,
                    "mask {:#x} is partial; the device takes the whole field or nothing",
                    **mask
                )
            }
            Detail::Waiting(id) => {
                write!(f, "waiting: no megaflow with recirc_id {id} is in hardware yet")
            }
            Detail::Full(full) => full.fmt(f),
            Detail::Said(text) => f.write_str(text),
        }
    }
}

/// Writes the words with this in the place of their `{}`.
fn fill(f: &mut fmt::Formatter<'_>, words: &str, what: fmt::Arguments<'_>) -> fmt::Result {
    match words.split_once("{}") {
        Some((before, behind)) => write!(f, "{before}{what}{behind}"),
        None => f.write_str(words),
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Actions => "actions",
            Unit::DeviceActions => "actions of the device",
            Unit::Bytes => "bytes",
            Unit::UserData => "bytes of user data",
            Unit::Words => "rewritten words",
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)?;
        let mut separator = if self.why == Detail::None { "in use: " } else { "; in use: " };
        for TableUsage { table, entries, capacity, .. } in &self.tables {
            write!(f, "{separator}{} {entries}", table.name())?;
            match capacity {
                Some(capacity) => write!(f, " of {capacity}")?,
                None => f.write_str(" (its capacity is not known)")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

impl From<Words> for Detail {
    fn from(words: Words) -> Detail {
        Detail::Words(words)
    }
}

impl From<Said> for Detail {
    fn from(said: Said) -> Detail {
        Detail::Said(said)
    }
}

impl From<String> for Said {
    fn from(text: String) -> Said {
        Said(Arc::new(text.into()))
    }
}

impl From<&str> for Said {
    fn from(text: &str) -> Said {
        Said(Arc::new(text.into()))
    }
}

impl Deref for Said {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
