//! One client call on its way: a stack of groups being tried, the retries in each, and where to go when one has failed.

use serde::{Deserialize, Serialize};
use stormproof_router::core::{Arrived, AttemptId, Duration, ModelId, Timestamp, Usd};

use super::bench::repeatable;
use super::failure::{Failure, Kind};
use super::graph::{Graph, Group, Slot};
use super::options::Options;
use super::version::{Backoff, Raised, Rules};

/// First pause before a retry.
const INITIAL_DELAY: Duration = Duration::from_millis(500);
/// Longest pause before a retry.
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Spread of the jitter: a factor, or seconds.
const JITTER: f64 = 0.75;
/// Longest `Retry-After` that a retry waits for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A client's call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) arrived: Arrived,
    /// The groups being tried: the one asked for at the bottom, fallbacks of fallbacks above. Empty once closed.
    pub(super) hops: Vec<Hop>,
    /// Groups (and orders in them) that were tried at all.
    pub(super) visited: Vec<(ModelId, Option<u8>)>,
    /// The attempt in flight.
    pub(super) attempt: Option<AttemptId>,
    /// When and with what it goes on, while it sleeps.
    pub(super) sleep: Option<(Timestamp, Resume)>,
    /// The deployment tried last.
    pub(super) tried: Option<Slot>,
    /// HTTP calls of the current attempt.
    pub(super) sdk_calls: u32,
    /// Whether the client has seen the beginning of the answer.
    pub(super) relayed: bool,
    /// HTTP calls in all.
    pub(super) attempts: u16,
    pub(super) spend: Usd,
    /// Random numbers used for it.
    pub(super) draws: u64,
}

/// What happens when a sleep is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Resume {
    /// The next attempt in this group.
    Attempt,
    /// The SDK's next call to the same deployment.
    SdkCall,
    /// The group gives up; there was nothing left to sleep for.
    GiveUp,
}

/// One group being tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hop {
    pub(super) group: ModelId,
    /// The only order that may be used, on a fail-over between orders.
    pub(super) order: Option<u8>,
    /// Fallbacks on the way here, and those started from here.
    depth: u32,
    /// Retries made.
    pub(super) retries: u32,
    /// Retries allowed; known from the first failure on.
    retries_max: u32,
    /// The exception that the group raises, or would if it gave up now.
    pub(super) raised: Option<Failure>,
    /// Whether a failure of this hop has reached the cooldown rules.
    pub(super) counted: bool,
    /// Deployments that refused in a way that repeating does not cure.
    pub(super) refusers: Vec<Slot>,
    /// Fallback targets looked at.
    targets: usize,
    /// What the last fallback raised.
    pub(super) fallback_failure: Option<(ModelId, Failure)>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// After this pause.
    After(Duration, Resume),
    /// No more in this group.
    Never,
}

/// What a retry's decision rests on beside the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool<'a> {
    pub(super) group: &'a Group,
    /// Deployments of the group that are not cooling.
    pub(super) healthy: usize,
    pub(super) options: &'a Options,
    pub(super) rules: &'static Rules,
}

impl Call {
    /// A place for calls, such as this one.
    pub(super) fn new(arrived: Arrived) -> Self {
        Self {
            arrived,
            hops: Vec::new(),
            visited: Vec::new(),
            attempt: None,
            sleep: None,
            tried: None,
            sdk_calls: 0,
            relayed: false,
            attempts: 0,
            spend: Usd::ZERO,
            draws: 0,
        }
    }

    /// A call has just arrived, and takes this place.
    pub(super) fn begin(&mut self, arrived: Arrived) {
        let (mut hops, mut visited) = (std::mem::take(&mut self.hops), std::mem::take(&mut self.visited));
        hops.clear();
        visited.clear();
        hops.push(Hop::new(arrived.model, None, 0));
        visited.push((arrived.model, None));
        *self = Self { hops, visited, ..Self::new(arrived) };
    }

    /// Takes up the next fallback target of the topmost group, if there is one.
    pub(super) fn descend(&mut self, graph: &Graph, options: &Options, rules: &Rules) -> bool {
        let Some(hop) = self.hops.last_mut() else { return false };
        let Some(raised) = hop.raised else { return false };
        if hop.targets == 0 && hop.depth >= options.max_fallbacks {
            return false;
        }
        let group = &graph.groups[hop.group.index()];
        let orders = group.orders_after(hop.order, rules);
        let list = targets(group, raised.kind, options, rules).unwrap_or_default();
        while let Some(child) = self.hops.last_mut().and_then(|hop| hop.next_target(orders, list)) {
            if self.enter(child, rules) {
                return true;
            }
        }
        false
    }

    fn enter(&mut self, child: Hop, rules: &Rules) -> bool {
        let place = (child.group, child.order);
        if rules.skips_visited && self.visited.contains(&place) {
            return false;
        }
        self.visited.push(place);
        self.hops.push(child);
        true
    }
}

impl Hop {
    fn new(group: ModelId, order: Option<u8>, depth: u32) -> Self {
        Self {
            group,
            order,
            depth,
            retries: 0,
            retries_max: 0,
            raised: None,
            counted: false,
            refusers: Vec::new(),
            targets: 0,
            fallback_failure: None,
        }
    }

    /// The next target: the group's own next orders, then the configured fallbacks without the group itself.
    fn next_target(&mut self, orders: &[u8], list: &[ModelId]) -> Option<Self> {
        loop {
            let index = self.targets;
            let (group, order) = match orders.get(index) {
                Some(&order) => (self.group, Some(order)),
                None => (*list.get(index - orders.len())?, None),
            };
            self.targets += 1;
            if order.is_some() || group != self.group {
                self.depth += 1;
                return Some(Self::new(group, order, self.depth));
            }
        }
    }

    /// Decides what follows a failed attempt in this group. `draw` is a fresh uniform number.
    pub(super) fn after_failure(&mut self, failure: Failure, pool: Pool<'_>, draw: f64) -> Retry {
        let Pool { options, rules, .. } = pool;
        let first = self.raised.is_none();
        let headers_of = match (rules.raised, self.raised) {
            (Raised::First, Some(earlier)) => earlier,
            (Raised::First | Raised::Last, _) => failure,
        };
        self.raised = Some(headers_of);
        let by_policy = pool.policy_retries(failure.kind);
        if first {
            self.retries_max = by_policy.unwrap_or(options.num_retries);
        }
        let overruled = rules.retry_policy_first && by_policy.is_some();
        if (first || rules.retests) && !overruled && !pool.worth_retrying(&failure) {
            return Retry::Never;
        }
        let pause = pool.pause(headers_of.retry_after, self.retries, draw);
        if self.retries < self.retries_max {
            self.retries += 1;
            return Retry::After(pause, Resume::Attempt);
        }
        if rules.sleeps_after_last && !first { Retry::After(pause, Resume::GiveUp) } else { Retry::Never }
    }
}

impl Pool<'_> {
    /// Retries that the configured policies grant this exception.
    fn policy_retries(&self, kind: Kind) -> Option<u32> {
        let policy = self.group.retry_policy.as_ref()?;
        let known = self.rules.policy_kinds.contains(&kind);
        let default = policy.default_retries.filter(|_| self.rules.retry_policy_first);
        policy.retries(kind).filter(|_| known).or(default)
    }

    /// The test that ends retries before their number does.
    fn worth_retrying(&self, failure: &Failure) -> bool {
        let elsewhere = match failure.kind {
            Kind::NotFound => true,
            Kind::ContextWindow => !self.options.context_window_fallbacks.is_empty(),
            Kind::ContentPolicy => !self.options.content_policy_fallbacks.is_empty(),
            Kind::BadRequest
            | Kind::Authentication
            | Kind::Timeout
            | Kind::RateLimit
            | Kind::InternalServer
            | Kind::BadGateway
            | Kind::ServiceUnavailable
            | Kind::Connection
            | Kind::Other
            | Kind::NoDeployments => false,
        };
        let alone = self.group.len <= 1 && self.rules.hopeless_alone.contains(&failure.status);
        let curable =
            repeatable(failure.status) || self.rules.retried_refusals.is_none_or(|list| list.contains(&failure.status));
        self.healthy > 0 && !elsewhere && !alone && curable
    }

    /// How long to sleep after `done` retries.
    fn pause(&self, retry_after: Option<Duration>, done: u32, draw: f64) -> Duration {
        if self.group.len > 1 && self.healthy > 0 {
            return Duration::ZERO;
        }
        let jitter = draw * JITTER;
        let added = Duration::from_secs_f64(jitter);
        let told = retry_after.filter(|told| (Duration::from_nanos(1)..=RETRY_AFTER_MAX).contains(told));
        let delay = INITIAL_DELAY.saturating_mul(1 << done.min(16));
        let floor = self.options.retry_after.0;
        match (self.rules.backoff, told) {
            (Backoff::Scaled, Some(told)) => told,
            (Backoff::Scaled, None) => delay.min(MAX_DELAY).mul_f64(jitter).max(floor),
            (Backoff::Added, Some(told)) => told + added,
            (Backoff::Added, None) => delay.max(floor).min(MAX_DELAY) + added,
        }
    }
}

/// The pause of the SDK underneath before its next call, after `done` of them.
pub(super) fn sdk_pause(retry_after: Option<Duration>, done: u32, draw: f64) -> Duration {
    let told = retry_after.filter(|told| (Duration::from_nanos(1)..=RETRY_AFTER_MAX).contains(told));
    let delay = INITIAL_DELAY.saturating_mul(1 << done.saturating_sub(1).min(16)).min(MAX_DELAY);
    told.unwrap_or_else(|| delay.mul_f64(1.0 - 0.25 * draw))
}

/// The fallback list that this exception leads to, if there is one.
pub(super) fn targets<'a>(group: &'a Group, kind: Kind, options: &Options, rules: &Rules) -> Option<&'a [ModelId]> {
    let list = match kind {
        Kind::ContextWindow if !options.context_window_fallbacks.is_empty() => &group.context_fallbacks,
        Kind::ContentPolicy if !options.content_policy_fallbacks.is_empty() => &group.content_fallbacks,
        Kind::BadRequest if !rules.bad_request_falls_back => &None,
        Kind::BadRequest
        | Kind::ContextWindow
        | Kind::ContentPolicy
        | Kind::Authentication
        | Kind::NotFound
        | Kind::Timeout
        | Kind::RateLimit
        | Kind::InternalServer
        | Kind::BadGateway
        | Kind::ServiceUnavailable
        | Kind::Connection
        | Kind::Other
        | Kind::NoDeployments => &group.fallbacks,
    };
    list.as_deref()
}
