//! The reference page, written from the tables.

use std::fmt::Write;

use super::reason::Reason;
use super::subject::WORDS;
use crate::table::TableName;

/// Returns the text of `docs/reference/refusals.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Refusals\n\n\
         Why a megaflow is not in hardware: a reason, the field, action, port or limit at fault \
         (the subject),\n\
         and a detail for people. [Why is this flow not in hardware?](../how-to/explain.md) says \
         how to ask.\n\n\
         This page is written from the tables in `flow/src/refusal/`; a test compares them.\n\n\
         ## Reasons\n\n\
         The code is stable: `megaflow_offload_decisions_total`, `offload/reasons` and JSON have \
         it.\n\n\
         | code | what it says | what would bring the megaflow into hardware |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        // Writing to a String can't fail.
        let _ = writeln!(page, "| `{reason}` | {} | {} |", reason.sentence(), reason.fix());
    }
    page.push_str(
        "\n## Subjects\n\n\
         A field or an action has its name in ODP text. A port is `in_port N` or `output N`. A \
         table has its name\n\
         in `megaflow_hw_table_entries`: ",
    );
    let tables: Vec<String> =
        TableName::ALL.iter().map(|table| format!("`{}`", table.name())).collect();
    let _ = writeln!(page, "{}. Beside these:\n", tables.join(", "));
    page.push_str("| subject | what it is |\n|---|---|\n");
    for (word, meaning) in WORDS {
        let _ = writeln!(page, "| `{word}` | {meaning} |");
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/refusals.md");
        if std::env::var_os("MEGAFLOW_WRITE_REFERENCE").is_some() {
            std::fs::write(path, super::page()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            page,
            super::page(),
            "write it anew: MEGAFLOW_WRITE_REFERENCE=1 cargo test -p megaflow-flow page"
        );
    }
}
