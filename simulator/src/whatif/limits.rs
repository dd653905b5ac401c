//! The limits that a log shows: what refusals name wins, then what calls met, then what was configured.

use std::collections::{BTreeMap, VecDeque};

use stormproof_router::core::{
    Action, ChargeErrors, Duration, Ending, Endpoint, KeyId, Limits, ProjectId, Reason, Timestamp, Transport,
    UpstreamId, Violation,
};

use super::evidence::{Call, Evidence};
use crate::world::{Charged, Death, Key, Project, Quota};

/// The providers' minute.
const WINDOW: Duration = Duration::from_secs(60);

/// What limits calls, in numbers of the universe.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences {
    pub(super) keys: Vec<Key>,
    pub(super) projects: Vec<Project>,
    /// By upstream model.
    pub(super) charged: Vec<Charged>,
    /// Upstream models whose charging the log does not show.
    pub(super) charging_assumed: Vec<UpstreamId>,
    /// Projects whose limits a refusal named or a call contradicted.
    pub(super) limits_seen: u64,
}

impl Fences {
    pub(super) fn new(evidence: &Evidence, resets: &[Timestamp]) -> Self {
        let tables = evidence.universe.tables();
        let width = tables.upstreams.len();
        let mut fences = Self {
            keys: tables.keys.iter().map(|key| Key { project: key.project.get(), deaths: Vec::new() }).collect(),
            projects: vec![Project { quotas: vec![Quota::default(); width] }; tables.projects.len()],
            charged: vec![Charged::default(); width],
            ..Self::default()
        };
        fences.believe(evidence);
        let mut by_quota: BTreeMap<(ProjectId, UpstreamId), Vec<&Call>> = BTreeMap::new();
        for call in evidence.calls.iter().filter(|call| call.endpoint == Endpoint::Generate) {
            by_quota.entry((tables.keys[call.key.index()].project, call.upstream)).or_default().push(call);
        }
        for ((project, upstream), calls) in &by_quota {
            let quota = &mut fences.projects[project.index()].quotas[upstream.index()];
            fences.limits_seen += u64::from(see_limits(quota, calls));
        }
        fences.see_charging(evidence, &by_quota);
        for ((project, upstream), calls) in &by_quota {
            let charged = fences.charged[upstream.index()];
            let quota = &mut fences.projects[project.index()].quotas[upstream.index()];
            see_use(quota, calls, charged, resets);
        }
        for (at, order) in &evidence.orders {
            if let Action::SetUsed { project, upstream, requests } = order
                && *at <= evidence.from + WINDOW
            {
                fences.projects[project.index()].quotas[upstream.index()].used_requests = *requests;
            }
        }
        for (index, key) in fences.keys.iter_mut().enumerate() {
            key.deaths = deaths(evidence, KeyId::new(index as u32));
        }
        fences
    }

    /// As configured, by every settings that were ever in force.
    fn believe(&mut self, evidence: &Evidence) {
        let later = evidence.later.iter().map(|(_, configured)| configured);
        for configured in later.chain([&evidence.first]) {
            for (place, deployment) in configured.settings.deployments.iter().enumerate() {
                let id = stormproof_router::core::DeploymentId::new(place as u32);
                let Some((key, upstream)) = configured.numbers.deployment(id) else { continue };
                let limits = configured.settings.tiers[deployment.tier.index()].limits;
                self.allow(key, upstream, limits);
            }
        }
    }

    /// Gives a project the limits that settings say it has.
    pub(super) fn allow(&mut self, key: KeyId, upstream: UpstreamId, limits: Limits) {
        let project = self.keys[key.index()].project as usize;
        let Limits { rpm, tpm, rpd, learn: _ } = limits;
        self.projects[project].quotas[upstream.index()] = Quota { rpm, tpm, rpd, ..Quota::default() };
    }

    /// Whether failures consume quota: a window that is full by one way of counting and was not refused, or was, tells.
    fn see_charging(&mut self, evidence: &Evidence, by_quota: &BTreeMap<(ProjectId, UpstreamId), Vec<&Call>>) {
        let believed = match evidence.first.settings.knobs.rate_charge_errors {
            ChargeErrors::Yes => Some(true),
            ChargeErrors::No => Some(false),
            ChargeErrors::Learn => None,
        };
        let mut votes = vec![0i64; self.charged.len()];
        for ((project, upstream), calls) in by_quota {
            let Some(rpm) = self.projects[project.index()].quotas[upstream.index()].rpm else { continue };
            votes[upstream.index()] += charging_votes(calls, rpm as usize);
        }
        for (index, vote) in votes.into_iter().enumerate() {
            let told = match vote.signum() {
                0 => believed,
                sign => Some(sign > 0),
            };
            match told {
                Some(overload) => self.charged[index].overload = overload,
                None => self.charging_assumed.push(UpstreamId::new(index as u16)),
            }
        }
    }
}

/// Whether a call met a limit, and no other trouble.
pub(super) fn met_limit(call: &Call) -> bool {
    matches!(call.end, Some((_, Ending::Status(429)))) && call.facts.reason.is_none()
}

/// Whether a call met an overloaded model, or a server's other failure.
fn failed(call: &Call) -> bool {
    match call.end {
        Some((_, Ending::Status(status))) => status >= 500,
        Some((_, Ending::Transport(transport))) => transport == Transport::Connect,
        None => false,
    }
}

/// Corrects a quota by what calls met. Whether there was anything to see.
fn see_limits(quota: &mut Quota, calls: &[&Call]) -> bool {
    let before = *quota;
    let mut recent: VecDeque<Timestamp> = VecDeque::new();
    let mut least_refused: Option<u32> = None;
    let mut most_passed = 0;
    for call in calls {
        while recent.front().is_some_and(|at| *at + WINDOW <= call.at) {
            recent.pop_front();
        }
        if !met_limit(call) {
            if !failed(call) {
                recent.push_back(call.at);
                most_passed = most_passed.max(recent.len() as u32);
            }
            continue;
        }
        let named = call.facts.violations;
        for (limit, violation) in [
            (&mut quota.rpm, named.requests_minute),
            (&mut quota.rpd, named.requests_day),
            (&mut quota.tpm, named.tokens_minute),
            (&mut quota.tpd, named.tokens_day),
        ] {
            if let Violation::Limit(value) = violation
                && value > 0
            {
                *limit = Some(value);
            }
        }
        let minute = named.requests_minute == Violation::Unvalued || !named.any();
        if minute && !recent.is_empty() {
            let passed = recent.len() as u32;
            least_refused = Some(least_refused.map_or(passed, |least| least.min(passed)));
        }
    }
    // A refusal that names no number says that so many were enough.
    if let (None, Some(enough)) = (quota.rpm, least_refused) {
        quota.rpm = Some(enough);
    }
    if let Some(rpm) = &mut quota.rpm {
        // A driver's clock is not the provider's: one call more may slip in.
        *rpm = (*rpm).max(most_passed.saturating_sub(1));
    }
    *quota != before
}

fn charging_votes(calls: &[&Call], rpm: usize) -> i64 {
    let mut recent: VecDeque<(Timestamp, bool)> = VecDeque::new();
    let mut votes = 0;
    for call in calls {
        while recent.front().is_some_and(|(at, _)| *at + WINDOW <= call.at) {
            recent.pop_front();
        }
        let good = recent.iter().filter(|(_, failed)| !failed).count();
        let undecided = good < rpm && recent.len() >= rpm;
        let refused = met_limit(call) && !call.facts.violations.any_day();
        if undecided {
            votes += if refused { 1 } else { -1 };
        }
        if !met_limit(call) {
            recent.push_back((call.at, failed(call)));
        }
    }
    votes
}

/// What was used of a day's requests before the log: what was missing when the day was said to be used up.
fn see_use(quota: &mut Quota, calls: &[&Call], charged: Charged, resets: &[Timestamp]) {
    let Some(rpd) = quota.rpd else { return };
    let first_reset = resets.first().copied().unwrap_or(Timestamp::MAX);
    let mut counted = 0;
    for call in calls.iter().take_while(|call| call.at < first_reset) {
        if met_limit(call) && call.facts.violations.requests_day != Violation::None {
            quota.used_requests = rpd.saturating_sub(counted);
            return;
        }
        if !met_limit(call) && (charged.overload || !failed(call)) {
            counted += 1;
        }
    }
}

/// When a key did not work: from the first refusal of it to its next good answer.
fn deaths(evidence: &Evidence, key: KeyId) -> Vec<Death> {
    let mut deaths: Vec<Death> = Vec::new();
    let mut worked = false;
    for call in evidence.calls.iter().filter(|call| call.key == key) {
        let Some(reason) = call.facts.reason.filter(|reason| is_death(*reason)) else {
            if call.is_good() {
                worked = true;
                for death in deaths.iter_mut().filter(|death| death.until == Timestamp::MAX) {
                    if death.upstream.is_none_or(|upstream| upstream == call.upstream) {
                        death.until = call.at;
                    }
                }
            }
            continue;
        };
        let upstream = is_about_model(reason).then_some(call.upstream);
        let known = |death: &Death| death.until == Timestamp::MAX && death.upstream == upstream;
        if !deaths.iter().any(known) {
            let from = if worked { call.at } else { Timestamp::ZERO };
            deaths.push(Death { from, until: Timestamp::MAX, upstream, reason });
        }
    }
    deaths
}

/// Whether a reason is about a key that does not work.
pub(super) fn is_death(reason: Reason) -> bool {
    match reason {
        Reason::KeyInvalid
        | Reason::KeySuspended
        | Reason::KeyLeaked
        | Reason::NoFreeTier
        | Reason::ClosedToNewUsers
        | Reason::ServiceDisabled
        | Reason::OutOfFunds
        | Reason::ModelNotFound
        | Reason::Credential => true,
        Reason::Overloaded
        | Reason::LocationUnsupported
        | Reason::AddressThrottled
        | Reason::ContextWindow
        | Reason::ContentBlocked => false,
    }
}

fn is_about_model(reason: Reason) -> bool {
    matches!(reason, Reason::NoFreeTier | Reason::ClosedToNewUsers | Reason::ModelNotFound)
}
