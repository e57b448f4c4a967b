//! Metrics as samples, and Prometheus's own check of metrics.

use std::collections::BTreeMap;
use std::process::Command;

use super::daemon::Folder;
use super::tool;

/// Samples by series, as `name{labels}`.
pub(crate) type Samples = BTreeMap<String, f64>;

/// The samples of a text.
pub(crate) fn samples(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// What Prometheus's own linter finds in a text.
pub(crate) fn lint(text: &str) -> String {
    let folder = Folder::new();
    let file = std::fs::File::open(folder.write("metrics", text)).unwrap();
    let mut promtool = Command::new("promtool");
    let output = tool(promtool.args(["check", "metrics"]).stdin(file), "prometheus");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The sum of a metric's series whose labels include all of `labels`.
pub(crate) fn sum(samples: &Samples, metric: &str, labels: &[&str]) -> u64 {
    let of_metric = |series: &str| series.split('{').next() == Some(metric);
    let found: Vec<f64> = samples
        .iter()
        .filter(|(series, _)| of_metric(series) && labels.iter().all(|l| series.contains(l)))
        .map(|(_, value)| *value)
        .collect();
    assert!(!found.is_empty(), "no series {metric} with {labels:?}");
    format!("{}", found.iter().sum::<f64>()).parse().unwrap()
}
