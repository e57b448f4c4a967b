//! Query strings: `?name=value&…`

use std::str::FromStr;

/// The parameters of a request, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string. An unknown name or a broken escape is an error.
    pub(super) fn parse(text: Option<&str>, known: &[&str]) -> Result<Query, String> {
        let parts = text.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let broken = || format!("'{part}' is not encoded as a parameter");
            let name = decode(name).ok_or_else(broken)?;
            if !known.contains(&name.as_str()) {
                return Err(format!("unknown parameter '{name}' (there are {})", known.join(", ")));
            }
            Ok((name, decode(value).ok_or_else(broken)?))
        });
        pairs.collect::<Result<_, _>>().map(Query)
    }

    /// A parameter's text; empty if the parameter is absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// A parameter as a number; `default` if the parameter is absent.
    pub(super) fn number<N: FromStr>(&self, name: &str, default: N) -> Result<N, String> {
        match self.text(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| format!("{name}: '{text}' is not a number")),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?].map(char::from);
                let [high, low] = digits.map(|digit| digit.to_digit(16));
                u8::try_from(high? << 4 | low?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Encodes a parameter's value, for links.
pub(super) fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        let text = "in_port(1),ipv4(src=10.0.0.0/8)&x=\"ü\" 100%";
        let query = Query::parse(Some(&format!("f={}&n=7", encode(text))), &["f", "n"]).unwrap();
        assert_eq!((query.text("f"), query.number("n", 1)), (text, Ok(7)));
        assert_eq!(query.number("f", 1).unwrap_err(), format!("f: '{text}' is not a number"));
        for bad in ["f=%", "f=%0", "f=%zz", "f=%ff", "g=1"] {
            assert!(Query::parse(Some(bad), &["f", "n"]).is_err(), "{bad}");
        }
    }
}
