//! The form of the answers that a client asks for. `ovs-appctl --format json` of OVS 3.4 and
//! later sends `set-options --format json` on its connection before the command.

use serde_json::{Value, json};

/// The form of a connection's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Format {
    /// Each answer is a string.
    #[default]
    Text,
    /// Each answer is a JSON document. The document of a method that only has text holds the text
    /// as a string.
    Json,
}

impl Format {
    /// Reads the options of `set-options`; the last one counts.
    pub(super) fn parse(params: &[&str]) -> Result<Format, String> {
        let mut format = Format::Text;
        let mut params = params.iter();
        while let Some(option) = params.next() {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (*option, params.next().copied()),
            };
            if !matches!(name, "--format" | "-f") {
                return Err(format!("unrecognized option '{option}'"));
            }
            let value = value.ok_or_else(|| format!("option '{option}' requires an argument"))?;
            format = match value.to_ascii_lowercase().as_str() {
                "text" => Format::Text,
                "json" => Format::Json,
                _ => return Err(format!("option format has invalid value {value}")),
            };
        }
        Ok(format)
    }

    /// Returns a text in this form.
    pub(super) fn of_text(self, text: String) -> Value {
        match self {
            Format::Text => Value::String(text),
            Format::Json => json!({"reply-format": "plain", "reply": text}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn options_are_read_as_ovs_reads_them() {
        for (params, want) in [
            (&["--format", "json"][..], Ok(Format::Json)),
            (&["--format=JSON"], Ok(Format::Json)),
            (&["-f", "text"], Ok(Format::Text)),
            (&["--format=json", "--format=text"], Ok(Format::Text)),
            (&["--format"], Err("option '--format' requires an argument")),
            (&["--format", "xml"], Err("option format has invalid value xml")),
            (&["--pretty"], Err("unrecognized option '--pretty'")),
            (&["json"], Err("unrecognized option 'json'")),
        ] {
            assert_eq!(Format::parse(params), want.map_err(str::to_owned), "{params:?}");
        }
    }
}
