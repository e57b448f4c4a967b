//! The reference page, written from the table.

use std::fmt::Write;

use crate::family::FAMILIES;

/// `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Prometheus text at `/metrics` of the HTTP listener, and from \
         `megaflow ctl metrics/show`.\n\
         A ufid, an address or a recirculation id is never a label. Enumerated label values\n\
         start at zero. Bytes are whole Ethernet frames without FCS.\n\n\
         This page is written from the table in `metrics/src/family.rs`; a test compares them.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        // Writing to a String can't fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {labels} | {} |",
            family.name,
            family.kind.name(),
            family.help
        );
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
        if std::env::var_os("MEGAFLOW_WRITE_REFERENCE").is_some() {
            std::fs::write(path, super::reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            page,
            super::reference(),
            "write it anew: MEGAFLOW_WRITE_REFERENCE=1 cargo test -p megaflow-metrics"
        );
    }
}
