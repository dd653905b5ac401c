//! What Prometheus reads, in OpenMetrics' text format. `gen_ai.*` attributes are spelt with underscores, as Prometheus
//! wants them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::onset::Onsets;
use super::status::{Look, tier_name};
use crate::core::{Router, Timestamp};
use crate::proxy::door::Door;
use crate::proxy::metrics::Metrics;

/// Everything, as text; `None` when the driver is gone.
pub(super) async fn render(door: &Door<Router>, onsets: &Onsets) -> Option<String> {
    let look = Look::take(door).await?;
    let mut registry = Registry::default();
    let samples = samples(&look, &door.metrics, onsets.spend_rate());
    registry.register_collector(Box::new(Samples(samples)));
    let mut out = String::new();
    // Writing into a string cannot fail.
    text::encode(&mut out, &registry).ok()?;
    Some(out)
}

/// One metric with all its label sets.
#[derive(Debug)]
struct Sample {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Vec<(&'static str, String)>, f64)>,
}

#[derive(Debug)]
struct Samples(Vec<Sample>);

/// One number.
struct Number(f64, MetricType);

fn samples(look: &Look, metrics: &Metrics, spend_rate: f64) -> Vec<Sample> {
    let by_tier = |value: &dyn Fn(&crate::core::TierView) -> Option<f64>| {
        let values = look.tiers.iter().filter_map(|tier| {
            let upstream = look.settings.upstreams.get(tier.upstream.index())?;
            let labels = vec![
                ("tier", tier_name(&look.settings, tier).to_owned()),
                ("gen_ai_request_model", upstream.model.clone()),
            ];
            value(tier).map(|value| (labels, value))
        });
        values.collect::<Vec<_>>()
    };
    let labelled = |label: &'static str, counts: Vec<(String, u64)>| {
        counts.into_iter().map(|(value, count)| (vec![(label, value)], count as f64)).collect::<Vec<_>>()
    };
    let owned = |counts: Vec<(&'static str, u64)>| {
        counts.into_iter().map(|(label, count)| (label.to_owned(), count)).collect::<Vec<_>>()
    };
    let one = |value: f64| vec![(Vec::new(), value)];
    let (stalled, stalls) = metrics.log_state();
    let seconds = |until: Timestamp| until.since(look.now).as_secs_f64();
    let gauge = |name, help, values| Sample { name, help, kind: MetricType::Gauge, values };
    let counter = |name, help, values| Sample { name, help, kind: MetricType::Counter, values };
    let fallback = |tier: &crate::core::TierView| {
        let is_first = look.settings.models.iter().any(|model| model.tiers.first() == Some(&tier.tier));
        (!is_first).then(|| tier.spent.as_f64())
    };
    vec![
        counter(
            "stormproof_requests",
            "Requests by outcome",
            labelled("outcome", owned(metrics.requests_by_outcome())),
        ),
        counter(
            "stormproof_attempts",
            "Upstream calls by HTTP status, or by how they broke",
            labelled("status", metrics.attempts_by_status()),
        ),
        counter(
            "stormproof_refusals",
            "Refused requests by what bound their first tier",
            labelled("cause", owned(metrics.refusals_by_cause())),
        ),
        counter("stormproof_spend_usd", "Money spent since the process started", one(metrics.spend_usd())),
        gauge("stormproof_spend_usd_per_hour", "Money per hour, over the last ten minutes", one(spend_rate * 3600.0)),
        gauge(
            "stormproof_usable_deployments",
            "Deployments that may be used",
            by_tier(&|tier| Some(tier.usable.into())),
        ),
        gauge("stormproof_deployments", "Deployments in all", by_tier(&|tier| Some(tier.deployments.into()))),
        gauge("stormproof_in_flight", "Attempts in flight", by_tier(&|tier| Some(tier.in_flight.into()))),
        gauge(
            "stormproof_quota_left",
            "Requests left until the quota day ends",
            by_tier(&|tier| tier.left_today.map(|left| left as f64)),
        ),
        gauge(
            "stormproof_quota_empty_seconds",
            "Time until the day's quota is used up at the present rate; absent if not before the reset",
            by_tier(&|tier| look.runs_out(tier).map(seconds)),
        ),
        gauge(
            "stormproof_failure_ratio",
            "Estimated probability that a call fails",
            by_tier(&|tier| Some(tier.failure)),
        ),
        gauge(
            "stormproof_degraded",
            "1 while the model is degraded",
            by_tier(&|tier| Some(f64::from(u8::from(tier.degraded)))),
        ),
        gauge("stormproof_tier_spend_today_usd", "Money spent today", by_tier(&|tier| Some(tier.spent.as_f64()))),
        gauge(
            "stormproof_fallback_spend_today_usd",
            "Money spent today on tiers that are no model's first",
            by_tier(&fallback),
        ),
        gauge(
            "stormproof_tier_budget_usd",
            "What today may cost",
            by_tier(&|tier| tier.budget.map(crate::core::Usd::as_f64)),
        ),
        gauge("stormproof_requests_open", "Requests without an outcome", one(look.load.requests as f64)),
        gauge("stormproof_requests_waiting", "Requests that wait for capacity", one(look.load.waiting as f64)),
        gauge(
            "stormproof_tightest_deadline_seconds",
            "Time until the first deadline of a request whose client has seen nothing yet",
            look.load.tightest_deadline.map_or_else(Vec::new, |deadline| one(seconds(deadline))),
        ),
        gauge("stormproof_log_stalled", "1 while the event log takes nothing", one(f64::from(u8::from(stalled)))),
        counter("stormproof_log_stalls", "How often the event log stopped taking events", one(stalls as f64)),
    ]
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for sample in self.0.iter().filter(|sample| !sample.values.is_empty()) {
            let mut metric = encoder.encode_descriptor(sample.name, sample.help, None, sample.kind)?;
            for (labels, value) in &sample.values {
                let number = Number(*value, sample.kind);
                if labels.is_empty() {
                    number.encode(metric.encode_family::<[(&str, &str); 0]>(&[])?)?;
                } else {
                    number.encode(metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl EncodeMetric for Number {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self.1 {
            MetricType::Counter => encoder.encode_counter::<[(&str, &str); 0], _, f64>(&self.0, None),
            MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
                encoder.encode_gauge(&self.0)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        self.1
    }
}
