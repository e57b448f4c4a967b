//! From a snapshot to Prometheus text.

pub(crate) mod rows;
#[cfg(test)]
mod tests;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric, MetricFamily,
    MetricType,
};

use flow::Histogram;

use crate::family::{FAMILIES, Family, Kind};
use crate::snapshot::Snapshot;

/// The `Content-Type` of what [`encode`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The snapshot as Prometheus text. A metric without any series is left out.
#[must_use]
pub fn encode(snapshot: &Snapshot) -> String {
    let families: Vec<MetricFamily> = FAMILIES
        .iter()
        .map(|family| build(family, snapshot))
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = String::new();
    // Fails only for a family without a name or series, or a writer that fails: none of them here.
    match prometheus::TextEncoder::new().encode_utf8(&families, &mut text) {
        Ok(()) => text,
        Err(error) => format!("# {error}\n"),
    }
}

fn build(family: &Family, snapshot: &Snapshot) -> MetricFamily {
    let mut rows = Rows { labels: family.labels, kind: family.kind, metrics: Vec::new() };
    (family.rows)(snapshot, &mut rows);
    let mut out = MetricFamily::default();
    out.set_name(family.name.to_owned());
    out.set_help(family.help.to_owned());
    out.set_field_type(match family.kind {
        Kind::Gauge => MetricType::GAUGE,
        Kind::Counter => MetricType::COUNTER,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    out.set_metric(rows.metrics);
    out
}

/// The series of one metric as they are collected.
pub(crate) struct Rows {
    labels: &'static [&'static str],
    kind: Kind,
    metrics: Vec<Metric>,
}

impl Rows {
    /// A series with an integer value. Above 2⁵³ the text loses the last bits, as Prometheus does.
    #[allow(clippy::cast_precision_loss, reason = "a value in Prometheus is a float")]
    pub(crate) fn count(&mut self, labels: &[&str], value: u64) {
        self.value(labels, value as f64);
    }

    pub(crate) fn value(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.series(labels);
        if self.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    pub(crate) fn histogram(&mut self, labels: &[&str], values: &Histogram) {
        let buckets = values.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = HistogramProto::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(values.sum());
        let mut metric = self.series(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    fn series(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{:?}", self.labels);
        let pairs = self.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }
}
