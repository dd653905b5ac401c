//! What a recorded day cannot tell, in sentences.

use super::evidence::Evidence;
use super::model::Model;

/// Everything that was assumed.
pub(super) fn sentences(evidence: &Evidence, model: &Model) -> Vec<String> {
    let mut all = vec![
        "when a model was overloaded while nobody called it: drawn for each seed from a process of two states"
            .to_owned(),
        "that a question takes as long to answer whenever, and by whichever model, it is asked".to_owned(),
        "that users and their programs go on as they did, whatever they are answered".to_owned(),
    ];
    let tables = evidence.universe.tables();
    if model.fences.limits_seen == 0 {
        all.push("limits: as configured; no refusal named one".to_owned());
    }
    for upstream in &model.fences.charging_assumed {
        all.push(format!("that a 503 of {} consumes quota", tables.upstreams[upstream.index()].model));
    }
    for (upstream, fit) in tables.upstreams.iter().zip(&model.upstreams) {
        if fit.latency.whole == 0 {
            all.push(format!("how long {} takes: it never answered", upstream.model));
        }
    }
    if evidence.orders_dropped > 0 {
        all.push(format!("that {} orders of operators to the router were not given", evidence.orders_dropped));
    }
    if evidence.missing > 0 {
        all.push(format!("nothing of the {} events that are missing from the log", evidence.missing));
    }
    all
}
