//! The text of keys, matches, bytes and refusals in a recording. Keys and matches have a form of
//! their own because ODP text can't say every value: a client's or a device's match need not be
//! one that OVS would print.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::action::Actions;
use crate::field::Field;
use crate::id::Ufid;
use crate::key::Key;
use crate::matching::Match;
use crate::megaflow::Megaflow;
use crate::refusal::{Detail, Refusal, Refusals, Said};

impl Serialize for Ufid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ufid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ufid, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A key is the map of its fields that are not zero: `{"in_port": "0x1", …}`.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.fields().map(|field| (field, format!("{:#x}", self.get(field)))))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key, D::Error> {
        let mut key = Key::default();
        for (field, text) in BTreeMap::<Field, String>::deserialize(from)? {
            key.set(field, number(&text, field).map_err(D::Error::custom)?);
        }
        Ok(key)
    }
}

/// A match is the map of its fields that are not wild, as `value` or `value/mask`.
impl Serialize for Match {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.mask().fields().map(|field| {
            let (value, mask) = (self.key().get(field), self.mask().get(field));
            let is_whole = mask == field.full_mask();
            let slash = if is_whole { String::new() } else { format!("/{mask:#x}") };
            (field, format!("{value:#x}{slash}"))
        }))
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Match, D::Error> {
        let (mut key, mut mask) = (Key::default(), Key::default());
        for (field, text) in BTreeMap::<Field, String>::deserialize(from)? {
            let (value, bits) = match text.split_once('/') {
                Some((value, bits)) => (value, number(bits, field).map_err(D::Error::custom)?),
                None => (&*text, field.full_mask()),
            };
            key.set(field, number(value, field).map_err(D::Error::custom)?);
            mask.set(field, bits);
        }
        Ok(Match::new(&key, &mask))
    }
}

/// Reads a number that the field can hold.
fn number(text: &str, field: Field) -> Result<u128, String> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let holds = |number: &u128| {
        let mut key = Key::default();
        key.set(field, *number);
        key.get(field) == *number
    };
    let number = u128::from_str_radix(digits, 16).ok().filter(holds);
    number
        .ok_or_else(|| format!("{}: '{text}' is no number in hexadecimal that fits", field.name()))
}

impl<'de> Deserialize<'de> for Megaflow {
    /// Reads match and actions; the ufid that is written beside them follows from the match.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Megaflow, D::Error> {
        #[derive(serde::Deserialize)]
        struct Read {
            matching: Match,
            actions: Actions,
        }
        let Read { matching, actions } = Read::deserialize(from)?;
        Ok(Megaflow::new(matching, actions))
    }
}

/// A detail is its text. Read back it is something that was said: the engine shows details and
/// does not decide by them.
impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Detail::None => to.serialize_none(),
            detail => to.collect_str(detail),
        }
    }
}

impl<'de> Deserialize<'de> for Detail {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Detail, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.map_or(Detail::None, |text| Detail::Said(Said::from(text))))
    }
}

impl Serialize for Refusals {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Refusals {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Refusals, D::Error> {
        let mut all = Vec::<Refusal>::deserialize(from)?.into_iter();
        let first = all.next().ok_or_else(|| D::Error::custom("a list of refusals is empty"))?;
        Ok(Refusals::new(first, all.collect()))
    }
}

/// Bytes as a string of hexadecimal digits, for `#[serde(with = "…")]`.
pub mod hex {
    use std::fmt::Write;

    use super::{Deserialize, Deserializer, Error, Serializer};

    /// Writes two digits for each byte.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        to.serialize_str(&text)
    }

    /// Reads two digits for each byte.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| {
            let [high, low] = <[u8; 2]>::try_from(pair).ok()?.map(|d| char::from(d).to_digit(16));
            u8::try_from(high? << 4 | low?).ok()
        });
        bytes.collect::<Option<_>>().ok_or_else(|| D::Error::custom("no bytes in hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Action, Mask, Megaflow, Reason, Subject};

    fn same<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(value: &T) {
        let text = serde_json::to_string(value).unwrap();
        let back: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(back, *value, "{text}");
    }

    /// Every field under masks that no text of OVS can say.
    #[test]
    fn every_match_is_a_round_trip() {
        let mut dice = 3_u128;
        let mut roll = || {
            dice = dice.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            dice ^ dice >> 64
        };
        for _ in 0..2_000 {
            let (mut key, mut mask) = (Key::default(), Mask::default());
            for field in Field::ALL {
                let bits = [0, field.full_mask(), roll()][(roll() % 3) as usize];
                mask.set(*field, bits);
                key.set(*field, roll());
            }
            let matching = Match::new(&key, &mask);
            same(&key);
            same(&Megaflow::new(matching, [Action::PopVlan, Action::Output(crate::PortId(7))]));
        }
    }

    #[test]
    fn the_text_is_for_people() {
        let key = Key { in_port: 1, eth_type: 0x800, ip_tos: 4, ..Key::default() };
        let mask = Mask { eth_type: 0xffff, ip_tos: 0xfc, ..Mask::default() };
        let flow = Megaflow::new(Match::new(&key, &mask), [Action::Output(crate::PortId(2))]);
        let text = serde_json::to_string(&flow).unwrap();
        assert_eq!(
            text,
            format!(r#"{{"ufid":"{}","matching":{{"in_port":"0x1","recirc_id":"0x0","#, flow.ufid)
                + r#""eth_type":"0x800","ip_tos":"0x4/0xfc"},"actions":[{"Output":2}]}"#
        );
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let mask = Detail::PartialMask(Arc::new(0xff00));
        let first = Refusal::new(Reason::MatchMask, Field::EthType).detail(mask);
        let refusals = Refusals::new(first, vec![Refusal::new(Reason::Device, Subject::Busy)]);
        let text = serde_json::to_string(&refusals).unwrap();
        let back: Refusals = serde_json::from_str(&text).unwrap();
        assert_eq!(back.to_string(), refusals.to_string());
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert!(serde_json::from_str::<Refusals>("[]").is_err());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for text in [r#"{"eth_type":"0x10000"}"#, r#"{"eth_type":"1"}"#, r#"{"nothing":"0x1"}"#] {
            assert!(serde_json::from_str::<Match>(text).is_err(), "{text}");
        }
        let mut bytes = serde_json::Deserializer::from_str(r#""0g""#);
        assert!(hex::deserialize(&mut bytes).is_err());
    }
}
