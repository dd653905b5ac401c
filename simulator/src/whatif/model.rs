//! A recorded day as a day that can be run again: what is known of it as it is known, and one guess for each seed at
//! what is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use stormproof_router::core::{
    Duration, Ending, Endpoint, KeyId, Reason, Settings, Timestamp, Transport, UpstreamId, Violation, WallTime,
};

use super::chance::Chance;
use super::clients::Crowd;
use super::evidence::{Call, Configured, Evidence};
use super::latency::Fitted;
use super::limits::{Fences, is_death, met_limit};
use super::shared::{Watch, share};
use super::sky::Sightings;
use super::universe::Numbers;
use crate::clients;
use crate::engine::{Day, Happening};
use crate::study::{Case, Policy};
use crate::world::{
    Answer, Faults, Latency, Met, Pace, Per, Recorded, RecordedReply, Refusals, Span, Spec, Upstream, Weather, Wording,
};

/// A refusal that takes longer than this share of refusals is none: the call was taken.
const REFUSED_LATE: f64 = 0.01;

/// Everything that was fitted.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) crowd: Crowd,
    pub(super) fences: Fences,
    pub(super) upstreams: Vec<Fit>,
    recorded: Arc<Recorded>,
    pub(super) resets: Vec<Timestamp>,
    pub(super) orders: Vec<(Timestamp, Happening)>,
    pub(super) start: WallTime,
    /// From the epoch to just after the last arrival.
    pub(super) duration: Duration,
}

/// What was fitted about one upstream model.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    pub(super) latency: Fitted,
    overload: Fitted,
    limit: Fitted,
    request: Fitted,
    pub(super) faults: Faults,
    pub(super) pace: Pace,
    pub(super) wording: Wording,
    pub(super) watch: Watch,
}

impl Model {
    /// Fits a log, with as many guesses at the weather as there will be seeds.
    pub(super) fn new(evidence: &Evidence, seeds: u32) -> Self {
        let reset = |wall: &WallTime| Timestamp::ZERO + wall.since(evidence.epoch);
        let resets: Vec<Timestamp> = evidence.first.settings.resets.iter().map(reset).collect();
        let fences = Fences::new(evidence, &resets);
        let crowd = Crowd::new(evidence);
        let tables = evidence.universe.tables();
        let ids = (0..tables.upstreams.len()).map(|index| UpstreamId::new(index as u16));
        let mut upstreams: Vec<Fit> = ids.map(|id| Fit::new(evidence, id, seeds)).collect();
        let mut watches: Vec<&mut Watch> = upstreams.iter_mut().map(|fit| &mut fit.watch).collect();
        share(&mut watches, &mut Chance::new(0, FOLLOWERS));
        let recorded = Arc::new(recorded(evidence, &crowd, &upstreams));
        let last = evidence.turns.iter().map(super::evidence::Turn::at).max().unwrap_or(Timestamp::ZERO);
        let orders = evidence.orders.iter().map(|(at, order)| (*at, Happening::Operator(order.clone())));
        Self {
            orders: orders.collect(),
            crowd,
            fences,
            upstreams,
            recorded,
            resets,
            start: evidence.epoch,
            duration: last.since(Timestamp::ZERO) + Duration::from_nanos(1),
        }
    }

    /// The day as one seed guesses it, for these clients and the settings in force from its begin. With `reuse`, answers
    /// that are on record are given again where they hold.
    pub(super) fn case(
        &self,
        seed: u64,
        settings: &Arc<Settings>,
        (clients, later): (&[clients::Spec], &[(Timestamp, Happening)]),
        reuse: bool,
    ) -> Case {
        let upstreams = self.upstreams.iter().zip(0..).map(|(fit, index)| {
            let chance = &mut Chance::new(seed, LATENCIES + index);
            fit.upstream(settings, index as usize, seed, self.fences.charged[index as usize], chance)
        });
        let mut happenings: Vec<(Timestamp, Happening)> = self.orders.iter().chain(later).cloned().collect();
        happenings.extend(Day::leaving(clients));
        happenings.sort_by_key(|(at, _)| *at);
        let world = Spec {
            resets: self.resets.clone(),
            keys: self.fences.keys.clone(),
            projects: self.fences.projects.clone(),
            upstreams: upstreams.collect(),
            recorded: reuse.then(|| Arc::clone(&self.recorded)),
            ..Spec::default()
        };
        let day = Day { start: self.start, duration: self.duration, world, clients: clients.to_vec(), happenings };
        Case { name: "recorded".to_owned(), day, settings: Arc::clone(settings), assumed: Vec::new() }
    }
}

/// Subjects of draws, each followed by the number of an upstream model.
const LATENCIES: u64 = 1 << 16;
const SKIES: u64 = 2 << 16;
const FOLLOWERS: u64 = 3 << 16;

impl Fit {
    fn new(evidence: &Evidence, upstream: UpstreamId, seeds: u32) -> Self {
        let calls = || evidence.calls.iter().filter(|call| call.upstream == upstream);
        let generating = || calls().filter(|call| call.endpoint == Endpoint::Generate);
        let usual = Upstream::default();
        let lengths = |of: &dyn Fn(&Call) -> bool| -> Vec<Duration> {
            calls().filter(|call| of(call)).map(|call| call.took(evidence.until)).collect()
        };
        let overload = Fitted::new(&lengths(&is_overload), &[], &usual.refusals.overload);
        let limit = Fitted::new(&lengths(&met_limit), &[], &usual.refusals.limit);
        let is_request = |call: &Call| call.endpoint != Endpoint::Generate || call.facts.reason.is_some_and(is_death);
        let request = Fitted::new(&lengths(&is_request), &[], &usual.refusals.request);
        let met = |call: &Call| met(call, evidence, &overload);
        let whole: Vec<Duration> =
            generating().filter(|call| call.is_good()).map(|call| call.took(evidence.until)).collect();
        let cut = generating().filter(|call| met(call) == Some(Met::Taken)).map(|call| call.took(evidence.until));
        let latency = Fitted::new(&whole, &cut.collect::<Vec<_>>(), &usual.latency.shape);
        let seen = generating().filter_map(|call| match met(call)? {
            Met::Overload(_) => Some((call.at, true)),
            Met::Served(_) | Met::Taken => Some((call.at, false)),
        });
        let sightings = Sightings { seen: seen.collect() };
        let chance = &mut Chance::new(0, SKIES + u64::from(upstream.get()));
        let watch = sightings.watch(evidence.from, evidence.until, seeds as usize, chance);
        Self {
            latency,
            overload,
            limit,
            request,
            faults: faults(generating().filter(|call| matches!(met(call), Some(Met::Served(_) | Met::Taken)))),
            pace: pace(generating()),
            wording: wording(calls()),
            watch,
        }
    }

    /// As one seed guesses it.
    fn upstream(
        &self,
        settings: &Settings,
        index: usize,
        seed: u64,
        charged: crate::world::Charged,
        chance: &mut Chance,
    ) -> Upstream {
        let place = (seed as usize).wrapping_sub(1) % self.watch.skies.len().max(1);
        let weather = self.watch.skies.get(place).map_or_else(Weather::default, |sky| Weather {
            noise: sky.noise,
            episodes: sky.episodes.clone(),
            ..Weather::default()
        });
        Upstream {
            provider: settings.upstreams[index].provider,
            wording: self.wording,
            weather,
            latency: Latency { shape: self.latency.drawn(chance), tokens_per_s: None, per: Per::Turn },
            pace: self.pace,
            refusals: self.refusals(),
            charged,
            faults: self.faults,
        }
    }

    /// How long refusals take.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals { overload: self.overload.shape(), limit: self.limit.shape(), request: self.request.shape() }
    }
}

/// The answers that are on record.
fn recorded(evidence: &Evidence, crowd: &Crowd, upstreams: &[Fit]) -> Recorded {
    let generating = || evidence.calls.iter().filter(|call| call.endpoint == Endpoint::Generate);
    let answers = generating().filter_map(|call| {
        let met = met(call, evidence, &upstreams[call.upstream.index()].overload)?;
        Some(Answer { turn: crowd.keys[call.turn], upstream: call.upstream, nth: call.nth, at: call.at, met })
    });
    let answers: Vec<Answer> = answers.collect();
    // What a turn's answer took, or the longest that one was waited for.
    let mut spans: Vec<Option<Span>> = vec![None; evidence.turns.len()];
    for call in generating() {
        let is_cut = match met(call, evidence, &upstreams[call.upstream.index()].overload) {
            Some(Met::Taken) => true,
            Some(Met::Served(_)) if call.is_good() => false,
            Some(Met::Served(_) | Met::Overload(_)) | None => continue,
        };
        let length = call.took(evidence.until);
        let span = Span { turn: crowd.keys[call.turn], upstream: call.upstream, length, is_cut };
        let better = |before: &Span| before.is_cut && (!is_cut || length > before.length);
        if spans[call.turn].as_ref().is_none_or(better) {
            spans[call.turn] = Some(span);
        }
    }
    // Those who wait at the end of the log do so where its last moment was seen.
    let lit = upstreams.iter().map(|fit| fit.watch.sightings.lit(evidence.from, evidence.until));
    Recorded { answers, spans: spans.into_iter().flatten().collect(), lit: lit.collect() }
}

/// Whether a call met an overloaded model.
fn is_overload(call: &Call) -> bool {
    match call.end {
        Some((_, Ending::Status(503 | 529))) => true,
        Some((_, Ending::Status(200))) | None => false,
        Some((_, Ending::Status(_))) => call.facts.reason == Some(Reason::Overloaded),
        // An error event in a stream comes from a model that had taken the call.
        Some((_, Ending::Transport(_))) => false,
    }
}

/// What a call met behind limits and dead keys; nothing where one of those stopped it, or where it was given up so soon
/// that a refusal might still have come.
fn met(call: &Call, evidence: &Evidence, overload: &Fitted) -> Option<Met> {
    let reply = |(at, ending): (Timestamp, Ending)| RecordedReply {
        first_byte: call.first_byte.map(|first| first.since(call.at)),
        after: at.since(call.at),
        ending,
        facts: call.facts,
        usage: call.usage,
    };
    let taken = || {
        let survived = call.first_byte.is_some() || overload.longer(call.took(evidence.until)) < REFUSED_LATE;
        survived.then_some(Met::Taken)
    };
    if is_overload(call) {
        return call.end.map(|end| Met::Overload(reply(end)));
    }
    match (call.end, call.facts.reason) {
        (None, _) => taken(),
        (_, Some(reason)) if is_death(reason) || reason == Reason::AddressThrottled => None,
        (Some((_, Ending::Status(401 | 403 | 404 | 429))), _) => None,
        (Some(end @ (_, Ending::Status(_))), _) => Some(Met::Served(reply(end))),
        (Some(end @ (_, Ending::Transport(transport))), _) => match transport {
            Transport::FirstByteTimeout | Transport::IdleTimeout | Transport::TotalTimeout | Transport::Abandoned => {
                taken()
            }
            Transport::Connect
            | Transport::Reset
            | Transport::ReusedConnection
            | Transport::Cut
            | Transport::ErrorEvent
            | Transport::Malformed => Some(Met::Served(reply(end))),
        },
    }
}

/// How often calls went wrong that the weather had let through.
fn faults<'a>(calls: impl Iterator<Item = &'a Call>) -> Faults {
    let mut faults = Faults::default();
    let mut all = 0.0;
    for call in calls {
        all += 1.0;
        let Some((_, ending)) = call.end else { continue };
        let counted = match ending {
            Ending::Status(200) if call.facts.reason == Some(Reason::ContentBlocked) => &mut faults.blocked,
            Ending::Status(504) => &mut faults.timeout,
            Ending::Status(500..) => &mut faults.server,
            Ending::Status(_) => continue,
            Ending::Transport(Transport::Connect) => &mut faults.connect,
            Ending::Transport(Transport::Reset | Transport::ReusedConnection) => &mut faults.reset,
            Ending::Transport(Transport::Malformed) => &mut faults.malformed,
            Ending::Transport(Transport::Cut) => &mut faults.cut,
            Ending::Transport(Transport::ErrorEvent) => &mut faults.error_event,
            Ending::Transport(Transport::IdleTimeout) => &mut faults.stall,
            Ending::Transport(Transport::FirstByteTimeout | Transport::TotalTimeout | Transport::Abandoned) => continue,
        };
        *counted += 1.0;
    }
    for share in [
        &mut faults.connect,
        &mut faults.reset,
        &mut faults.server,
        &mut faults.timeout,
        &mut faults.malformed,
        &mut faults.cut,
        &mut faults.error_event,
        &mut faults.stall,
        &mut faults.blocked,
    ] {
        *share = if all > 0.0 { *share / all } else { 0.0 };
    }
    faults
}

/// Where in an answer its first chunk comes.
fn pace<'a>(calls: impl Iterator<Item = &'a Call>) -> Pace {
    let (mut count, mut sum) = (0.0, 0.0);
    for call in calls.filter(|call| call.is_good()) {
        if let (Some(first), Some((end, _))) = (call.first_byte, call.end) {
            let whole = end.since(call.at).as_secs_f64();
            if whole > 0.0 {
                (count, sum) = (count + 1.0, sum + first.since(call.at).as_secs_f64() / whole);
            }
        }
    }
    let usual = Pace::default();
    if count > 0.0 { Pace { first_byte: sum / count, ..usual } } else { usual }
}

/// How refusals were worded; as they are today where none was seen.
fn wording<'a>(calls: impl Iterator<Item = &'a Call>) -> Wording {
    let (mut named, mut valued, mut told, mut bare) = (0, 0, 0, 0);
    for call in calls.filter(|call| met_limit(call)) {
        let violations = call.facts.violations;
        let all =
            [violations.requests_minute, violations.requests_day, violations.tokens_minute, violations.tokens_day];
        match (violations.any(), all.iter().any(|one| matches!(one, Violation::Limit(_)))) {
            (true, true) => valued += 1,
            (true, false) => named += 1,
            (false, _) if call.facts.retry_after.is_some() => told += 1,
            (false, _) => bare += 1,
        }
    }
    match [valued, named, told, bare].into_iter().max().unwrap_or(0) {
        0 => Wording::GeminiLate2025,
        most if most == valued => Wording::GeminiLate2025,
        most if most == named => Wording::GeminiSpring2025,
        most if most == told => Wording::OpenAi,
        _ => Wording::GeminiBare,
    }
}

/// What happens to a router's settings during a day: keys come and go as they did, everything else is as asked.
pub(super) fn key_changes(
    asked: &Settings,
    numbers: &Numbers,
    evidence: &Evidence,
) -> (Arc<Settings>, Vec<(Timestamp, Happening)>) {
    let ever: BTreeSet<KeyId> = evidence
        .later
        .iter()
        .map(|(_, configured)| configured)
        .chain([&evidence.first])
        .flat_map(|configured| configured.serving.iter().copied())
        .collect();
    let with = |configured: &Configured| {
        let mut settings = evidence.universe.renumber(asked, numbers);
        let there = |key: &KeyId| configured.serving.contains(key) || !ever.contains(key);
        let whole = settings.deployments.clone();
        settings.deployments.retain(|deployment| there(&deployment.key));
        let served =
            |tier: usize, all: &[stormproof_router::core::Deployment]| all.iter().any(|one| one.tier.index() == tier);
        if (0..settings.tiers.len()).any(|tier| !served(tier, &settings.deployments)) {
            // A tier without any key would be no configuration at all.
            settings.deployments = whole;
        }
        settings.resets.clone_from(&evidence.first.settings.resets);
        Arc::new(settings)
    };
    let mut changes = Vec::new();
    let mut before = &evidence.first;
    for (at, configured) in &evidence.later {
        if configured.serving != before.serving {
            changes.push((*at, Happening::Configured(with(configured))));
        }
        before = configured;
    }
    (with(&evidence.first), changes)
}

/// The policy with other settings.
pub(super) fn under(policy: &Policy, settings: Arc<Settings>) -> Policy {
    match policy {
        Policy::Stormproof(_) => Policy::Stormproof(settings),
        Policy::LiteLlm { options, .. } => Policy::LiteLlm { settings, options: Arc::clone(options) },
    }
}
