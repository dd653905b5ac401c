//! What one seed looked like, router by router: the data behind the pictures. Times are seconds since the start.

use serde::{Deserialize, Serialize};

/// The first seed's day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Which seed.
    pub seed: u64,
    /// The length of a [`Bucket`].
    pub bucket_s: f64,
    /// When which upstream model was overloaded; the same for every router.
    pub overloads: Vec<Overload>,
    /// One entry a router, in the order of the summary's runs.
    pub policies: Vec<PolicyTrace>,
}

/// A time in which an upstream model answers many calls with an overload error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overload {
    /// The upstream model.
    pub upstream: String,
    /// Its beginning.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// The share of calls that fail.
    pub probability: f64,
}

/// How the day went under one router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTrace {
    /// The router's name in the scenario.
    pub policy: String,
    /// What clients saw, bucket by bucket from the start without gaps.
    pub strip: Vec<Bucket>,
    /// What every deployment did, tier by tier.
    pub lanes: Vec<Lane>,
}

/// What clients saw within one bucket of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Turns without an answer yet, averaged over the bucket's time.
    pub waiting: f64,
    /// Turns answered by their model's first tier.
    pub first_tier: u32,
    /// Turns answered by a later tier: the fallback.
    pub fallback: u32,
    /// Client calls that ended in an error or without an answer; a patient client may call again.
    pub refused: u32,
    /// Turns given up.
    pub lost: u32,
}

/// One deployment: a key serving one upstream model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The key's name.
    pub key: String,
    /// The tier's name.
    pub tier: String,
    /// The upstream model.
    pub upstream: String,
    /// Calls made, in the order of their start.
    pub attempts: Vec<Attempt>,
    /// Times in which the router would not use it, in the order of their start.
    pub cooldowns: Vec<Cooldown>,
}

/// One upstream call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Dispatched.
    pub from_s: f64,
    /// Finished.
    pub to_s: f64,
    /// HTTP status, or the name of a transport error; as in the summary's `upstream_statuses`.
    pub status: String,
}

/// A time in which the router would not use a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cooldown {
    /// Its beginning.
    pub from_s: f64,
    /// Its end, cut at the end of the run.
    pub to_s: f64,
    /// What was seen: `503 overload`, `429 day quota`.
    pub cause: String,
    /// The parts of it in which the provider would most likely have answered this key: quota left, and no overload.
    pub answerable: Vec<Span>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
}
