//! What Prometheus reads, in OpenMetrics' text format. `gen_ai.*` attributes are spelt with underscores, as Prometheus
//! wants them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::onset::Onsets;
use super::status::{Look, tier_name};
use crate::core::{Router, Timestamp};
use crate::proxy::door::Door;
use crate::proxy::gen_ai::{Histogram, Model};
use crate::proxy::metrics::Metrics;

/// OpenTelemetry's `gen_ai.client.operation.duration`.
const DURATION: &str = "gen_ai_client_operation_duration_seconds";

/// OpenTelemetry's `gen_ai.client.token.usage`.
const TOKENS: &str = "gen_ai_client_token_usage";

/// Everything, as text; `None` when the driver is gone.
pub(super) async fn render(door: &Door<Router>, onsets: &Onsets) -> Option<String> {
    let look = Look::take(door).await?;
    let mut registry = Registry::default();
    let samples = samples(&look, &door.metrics, onsets.spend_rate());
    registry.register_collector(Box::new(Samples { samples, models: door.metrics.gen_ai.models() }));
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
struct Samples {
    samples: Vec<Sample>,
    models: BTreeMap<Arc<str>, Model>,
}

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
    let flag = |is: bool| one(f64::from(u8::from(is)));
    let log = metrics.log_state();
    let seconds = |until: Timestamp| until.since(look.now).as_secs_f64();
    let gauge = |name, help, values| Sample { name, help, kind: MetricType::Gauge, values };
    let counter = |name, help, values| Sample { name, help, kind: MetricType::Counter, values };
    vec![
        counter("stormproof_requests", "Requests by public model and outcome", requests(metrics)),
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
        counter(
            "stormproof_fallback_spend_usd",
            "Money that requests cost which ended on a tier behind their model's first",
            one(metrics.fallback_spend_usd()),
        ),
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
            "stormproof_tier_spend_assumed_usd",
            "The part of it that is the worst case of calls which broke off",
            by_tier(&|tier| Some(tier.assumed.as_f64())),
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
        gauge("stormproof_log_stalled", "1 while the event log takes nothing", flag(log.stalled)),
        counter("stormproof_log_stalls", "How often the event log stopped taking events", one(log.stalls as f64)),
        gauge("stormproof_log_dropping", "1 while events go unrecorded", flag(log.dropped > 0)),
        counter("stormproof_log_gaps", "How often events went unrecorded", one(log.gaps as f64)),
    ]
}

/// Requests by model and outcome.
fn requests(metrics: &Metrics) -> Vec<(Vec<(&'static str, String)>, f64)> {
    let mut values = Vec::new();
    for (model, outcomes) in metrics.requests() {
        for (outcome, count) in outcomes {
            values.push((
                vec![("gen_ai_request_model", model.to_string()), ("outcome", outcome.to_owned())],
                count as f64,
            ));
        }
    }
    values
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for sample in self.samples.iter().filter(|sample| !sample.values.is_empty()) {
            let mut metric = encoder.encode_descriptor(sample.name, sample.help, None, sample.kind)?;
            if let [(labels, value)] = sample.values.as_slice()
                && labels.is_empty()
            {
                Number(*value, sample.kind).encode(metric)?;
                continue;
            }
            for (labels, value) in &sample.values {
                Number(*value, sample.kind).encode(metric.encode_family(labels)?)?;
            }
        }
        let seconds = "Time from the dispatch of a call to a provider to its end";
        let mut metric = encoder.encode_descriptor(DURATION, seconds, None, MetricType::Histogram)?;
        for (name, model) in &self.models {
            let labels = [("gen_ai_request_model", &**name)];
            encode(&mut metric.encode_family(&labels)?, &model.seconds, &model.seconds.seconds())?;
        }
        let tokens = "Tokens of a call, as its provider counted them";
        let mut metric = encoder.encode_descriptor(TOKENS, tokens, None, MetricType::Histogram)?;
        for (name, model) in &self.models {
            for (kind, seen) in [("input", &model.input), ("output", &model.output)] {
                let labels = [("gen_ai_request_model", &**name), ("gen_ai_token_type", kind)];
                encode(&mut metric.encode_family(&labels)?, seen, &seen.tokens())?;
            }
        }
        Ok(())
    }
}

fn encode(metric: &mut MetricEncoder<'_>, seen: &Histogram, buckets: &[(f64, u64)]) -> fmt::Result {
    metric.encode_histogram::<[(&str, &str); 0]>(seen.sum, seen.count, buckets, None)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::LoadView;

    /// Every name that a scrape may hold, as Prometheus stores it.
    fn names() -> BTreeSet<String> {
        let load = LoadView { requests: 0, waiting: 0, attempts: 0, tightest_deadline: None };
        let look = Look {
            now: Timestamp::ZERO,
            settings: Arc::default(),
            tiers: Vec::new(),
            cooldowns: Vec::new(),
            clients: Vec::new(),
            load,
            log_problem: None,
            power_lost: None,
        };
        let samples = samples(&look, &Metrics::default(), 0.0).into_iter().map(|sample| match sample.kind {
            MetricType::Counter => format!("{}_total", sample.name),
            MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
                sample.name.to_owned()
            }
        });
        let histograms = [DURATION, TOKENS]
            .into_iter()
            .flat_map(|name| ["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
        samples.chain(histograms).collect()
    }

    /// Every name in a text that looks like one of ours.
    fn named_in(text: &str) -> BTreeSet<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c: char| !is_part(c));
        let ours = words.filter(|word| word.starts_with("stormproof_") || word.starts_with("gen_ai_client_"));
        ours.map(str::to_owned).collect()
    }

    #[test]
    fn rules_and_dashboard_ask_for_what_there_is() {
        let (alerts, dashboard) =
            (include_str!("../../../../deploy/alerts.yaml"), include_str!("../../../../deploy/grafana.json"));
        let (names, alerts, dashboard) = (names(), named_in(alerts), named_in(dashboard));
        let missing = |asked: &BTreeSet<String>| asked.difference(&names).cloned().collect::<Vec<_>>();
        assert!(alerts.len() > 5 && dashboard.len() > 10, "the files are read");
        assert_eq!((missing(&alerts), missing(&dashboard)), (Vec::new(), Vec::new()));
    }
}
