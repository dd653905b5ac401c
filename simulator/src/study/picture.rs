//! One run as the pictures need it: what clients saw over time, and what every deployment did and was not allowed to
//! do.

use std::collections::VecDeque;

use stormproof_router::core::{
    Cause, DeploymentId, Duration, Ending, Note, Observer, Scope, Settings, Timestamp, Transport, UpstreamId,
};

use super::case::{Case, Contender};
use super::trace::{Attempt, Bucket, Cooldown, Lane, Overload, PolicyTrace, Span, Trace};
use crate::engine::{AttemptSeen, TRANSPORTS, Tally, TurnSeen, Witness, transport_index};
use crate::world::{Project, Quota, Spec, World};

/// Buckets over the day's length: about as many as a picture is wide in letters.
const BUCKETS: f64 = 240.0;

/// An overload in which this share of calls fails, or more, is no time at which a provider would have answered.
const UNANSWERABLE: f64 = 0.5;

/// Watches one run.
#[derive(Debug, Default)]
pub(super) struct Picture {
    turns: Vec<TurnSeen>,
    refused_at: Vec<Timestamp>,
    attempts: Vec<AttemptSeen>,
    cooled: Vec<Cooled>,
}

/// A scope was cooled, or released.
#[derive(Debug)]
struct Cooled {
    at: Timestamp,
    scope: Scope,
    /// Why and until when; `None` when it was released.
    until: Option<(Cause, Timestamp)>,
}

impl Observer for Picture {
    fn note(&mut self, now: Timestamp, note: Note) {
        match note {
            Note::Cooled { scope, cause, until, .. } => {
                self.cooled.push(Cooled { at: now, scope, until: Some((cause, until)) });
            }
            Note::Cleared { scope } => self.cooled.push(Cooled { at: now, scope, until: None }),
            Note::Classified { .. }
            | Note::Skipped { .. }
            | Note::Waits { .. }
            | Note::Spilled { .. }
            | Note::Degraded { .. }
            | Note::Learnt { .. }
            | Note::BackedOff { .. }
            | Note::Alert { .. }
            | Note::PowerLost { .. }
            | Note::Limited { .. } => {}
        }
    }
}

impl Witness for Picture {
    fn turn(&mut self, turn: TurnSeen) {
        self.turns.push(turn);
    }

    fn call(&mut self, now: Timestamp, answered: bool) {
        if !answered {
            self.refused_at.push(now);
        }
    }

    fn attempt(&mut self, attempt: AttemptSeen) {
        self.attempts.push(attempt);
    }
}

impl Picture {
    /// The picture of the finished run.
    pub(super) fn develop(mut self, case: &Case, contender: &Contender, tally: &Tally, world: &World) -> PolicyTrace {
        self.attempts.sort_by_key(|attempt| (attempt.from, attempt.attempt));
        let settings = contender.policy.settings();
        let days = Days { settings, world, end: tally.end };
        PolicyTrace {
            policy: contender.name.clone(),
            strip: self.strip(bucket_length(case), tally.end.max(Timestamp::ZERO + case.day.duration)),
            lanes: self.lanes(&days),
        }
    }

    fn strip(&self, bucket: Duration, end: Timestamp) -> Vec<Bucket> {
        let index = |at: Timestamp| (at.as_nanos() / bucket.as_nanos()) as usize;
        let mut strip = vec![Bucket::default(); index(end) + 1];
        for turn in &self.turns {
            let last = &mut strip[index(turn.to)];
            match (turn.answered, turn.fallback) {
                (true, false) => last.first_tier += 1,
                (true, true) => last.fallback += 1,
                (false, _) => last.lost += 1,
            }
            for (number, bucket_of) in strip.iter_mut().enumerate().take(index(turn.to) + 1).skip(index(turn.from)) {
                let from = Timestamp::from_nanos(number as u64 * bucket.as_nanos());
                let shared = turn.to.min(from + bucket).since(turn.from.max(from));
                bucket_of.waiting += shared.as_secs_f64() / bucket.as_secs_f64();
            }
        }
        for at in &self.refused_at {
            strip[index(*at)].refused += 1;
        }
        strip
    }

    fn lanes(&self, days: &Days<'_>) -> Vec<Lane> {
        let mut attempts: Vec<Vec<Attempt>> = vec![Vec::new(); days.settings.deployments.len()];
        for seen in &self.attempts {
            let status = match seen.ending {
                Ending::Status(status) => status.to_string(),
                Ending::Transport(transport) => TRANSPORTS[transport_index(transport)].to_owned(),
            };
            let attempt = Attempt { from_s: seen.from.as_secs_f64(), to_s: seen.to.as_secs_f64(), status };
            attempts[seen.deployment.index()].push(attempt);
        }
        let shut = Shut::of(days, &self.attempts);
        let lane = |(index, attempts): (usize, Vec<Attempt>)| {
            let deployment = days.settings.deployments[index];
            let tier = &days.settings.tiers[deployment.tier.index()];
            Lane {
                key: days.settings.keys[deployment.key.index()].name.clone(),
                tier: tier.name.clone(),
                upstream: days.settings.upstreams[tier.upstream.index()].model.clone(),
                attempts,
                cooldowns: self.cooldowns(days, DeploymentId::new(index as u32), &shut),
            }
        };
        attempts.into_iter().enumerate().map(lane).collect()
    }

    /// When this deployment was not used, one entry for each stretch that nothing interrupts.
    fn cooldowns(&self, days: &Days<'_>, deployment: DeploymentId, shut: &Shut) -> Vec<Cooldown> {
        let mut stretches: Vec<(Timestamp, Timestamp, Cause)> = Vec::new();
        for cooled in self.cooled.iter().filter(|cooled| days.covers(cooled.scope, deployment)) {
            let running = stretches.last_mut().filter(|(_, until, _)| *until > cooled.at);
            match (cooled.until, running) {
                (Some((_, until)), Some(running)) => running.1 = running.1.max(until),
                (Some((cause, until)), None) => stretches.push((cooled.at, until, cause)),
                (None, Some(running)) => running.1 = cooled.at,
                (None, None) => {}
            }
        }
        let upstream = days.upstream(deployment);
        let project = days.world.spec().keys[days.settings.deployments[deployment.index()].key.index()].project;
        let end = days.end;
        let shown = stretches.into_iter().filter(|(from, until, _)| *from < end && from < until);
        shown
            .map(|(from, until, cause)| Cooldown {
                from_s: from.as_secs_f64(),
                to_s: until.min(end).as_secs_f64(),
                cause: describe(cause).to_owned(),
                answerable: shut.open(from, until.min(end), project, upstream),
            })
            .collect()
    }
}

/// When each model was overloaded, for all routers alike.
pub(super) fn overload_trace(case: &Case, seed: u64) -> Trace {
    let world = World::new(&case.day.world, seed, case.day.horizon());
    let end = case.day.horizon();
    let mut overloads = Vec::new();
    for (index, upstream) in case.settings.upstreams.iter().enumerate() {
        if index >= world.spec().upstreams.len() {
            break;
        }
        for episode in world.episodes(UpstreamId::new(index as u16)).iter().filter(|episode| episode.from < end) {
            overloads.push(Overload {
                upstream: upstream.model.clone(),
                from_s: episode.from.as_secs_f64(),
                to_s: episode.until.min(end).as_secs_f64(),
                probability: episode.p503,
            });
        }
    }
    overloads.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    Trace { seed, bucket_s: bucket_length(case).as_secs_f64(), overloads, policies: Vec::new() }
}

/// A whole number of seconds, at least one.
fn bucket_length(case: &Case) -> Duration {
    Duration::from_secs(((case.day.duration.as_secs_f64() / BUCKETS) as u64).max(1))
}

/// What a finished run is measured against.
struct Days<'a> {
    settings: &'a Settings,
    world: &'a World,
    end: Timestamp,
}

impl Days<'_> {
    fn upstream(&self, deployment: DeploymentId) -> UpstreamId {
        let tier = self.settings.deployments[deployment.index()].tier;
        self.settings.tiers[tier.index()].upstream
    }

    fn covers(&self, scope: Scope, deployment: DeploymentId) -> bool {
        let key = self.settings.deployments[deployment.index()].key;
        let upstream = self.upstream(deployment);
        match scope {
            Scope::Key(cooled) => cooled == key,
            Scope::ProjectModel(project, model) => {
                model == upstream && self.settings.keys[key.index()].project == project
            }
            Scope::Upstream(cooled) => cooled == upstream,
            Scope::Provider(cooled) => cooled == self.settings.upstreams[upstream.index()].provider,
        }
    }
}

/// When a provider would not have answered: by upstream its overloads, by project and upstream its quota.
struct Shut {
    overloads: Vec<Vec<(Timestamp, Timestamp)>>,
    quotas: Vec<Vec<Vec<(Timestamp, Timestamp)>>>,
}

impl Shut {
    fn of(days: &Days<'_>, attempts: &[AttemptSeen]) -> Self {
        let spec = days.world.spec();
        let upstreams = 0..spec.upstreams.len() as u16;
        let overloads = upstreams.clone().map(|upstream| overloaded(days.world, UpstreamId::new(upstream)));
        let quota = |project: usize, upstream: u16| {
            let spent = attempts.iter().filter(|attempt| {
                let key = days.settings.deployments[attempt.deployment.index()].key;
                spec.keys[key.index()].project as usize == project
                    && days.upstream(attempt.deployment).get() == upstream
                    && is_charged(attempt.ending)
            });
            let times: Vec<Timestamp> = spent.map(|attempt| attempt.from).collect();
            exhausted(quota_of(&spec.projects[project], upstream), &times, spec, days.end)
        };
        Self {
            overloads: overloads.collect(),
            quotas: (0..spec.projects.len())
                .map(|project| upstreams.clone().map(|upstream| quota(project, upstream)).collect())
                .collect(),
        }
    }

    /// The parts of a stretch in which the provider would most likely have answered.
    fn open(&self, from: Timestamp, until: Timestamp, project: u32, upstream: UpstreamId) -> Vec<Span> {
        let quota = &self.quotas[project as usize][upstream.index()];
        let mut shut: Vec<(Timestamp, Timestamp)> =
            self.overloads[upstream.index()].iter().chain(quota).copied().collect();
        shut.sort_unstable();
        let (mut open, mut at) = (Vec::new(), from);
        let mut keep = |from: Timestamp, to: Timestamp| {
            if from < to {
                open.push(Span { from_s: from.as_secs_f64(), to_s: to.as_secs_f64() });
            }
        };
        for (begin, end) in shut {
            keep(at, begin.min(until));
            at = at.max(end).min(until);
        }
        keep(at, until);
        open
    }
}

fn overloaded(world: &World, upstream: UpstreamId) -> Vec<(Timestamp, Timestamp)> {
    let steps = world.forecast(upstream);
    let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([Timestamp::MAX]);
    let spans = steps.iter().zip(ends).filter(|((_, p503), _)| *p503 >= UNANSWERABLE);
    spans.map(|((from, _), until)| (*from, until)).collect()
}

fn quota_of(project: &Project, upstream: u16) -> Quota {
    project.quotas.get(usize::from(upstream)).copied().unwrap_or_default()
}

/// When no request of this project was left, in the minute or in the day.
fn exhausted(quota: Quota, times: &[Timestamp], spec: &Spec, end: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut spans = Vec::new();
    if let Some(rpm) = quota.rpm {
        let mut window: VecDeque<Timestamp> = VecDeque::new();
        for at in times {
            window.push_back(*at);
            if window.len() > rpm as usize {
                window.pop_front();
            }
            if let Some(oldest) = window.front().filter(|_| window.len() == rpm as usize) {
                let free = *oldest + Duration::from_secs(60);
                if free > *at {
                    spans.push((*at, free));
                }
            }
        }
    }
    if let Some(rpd) = quota.rpd {
        let mut day = Timestamp::ZERO;
        let mut used = quota.used_requests;
        for reset in spec.resets.iter().copied().filter(|reset| *reset < end).chain([end]) {
            let mut of_day = times.iter().filter(|at| (day..reset).contains(*at));
            let left = rpd.saturating_sub(used);
            let spent = if left == 0 { Some(&day) } else { of_day.nth(left as usize - 1) };
            spans.extend(spent.map(|from| (*from, reset)));
            (day, used) = (reset, 0);
        }
    }
    spans
}

/// Near enough for a picture: whatever reached the model.
fn is_charged(ending: Ending) -> bool {
    !matches!(ending, Ending::Status(400..=499) | Ending::Transport(Transport::Connect))
}

/// What was seen, in words.
fn describe(cause: Cause) -> &'static str {
    match cause {
        Cause::None => "released",
        Cause::RateMinute => "429 minute quota",
        Cause::TokensMinute => "429 token quota",
        Cause::RateDay => "429 day quota",
        Cause::RateUnknown => "429 without details",
        Cause::Overload => "503 overload",
        Cause::Server => "server fault",
        Cause::Auth => "not authorised",
        Cause::Dead => "retired",
        Cause::NotFound => "404 model",
        Cause::Request => "request fault",
        Cause::StreamCut => "stream cut",
        Cause::Budget => "budget",
        Cause::ClientRate | Cause::ClientBudget | Cause::ClientModel => "client limit",
        Cause::RetryBudget | Cause::Attempts => "retries used up",
        Cause::Operator => "operator",
        Cause::ContextWindow => "prompt too long",
        Cause::ContentBlocked => "content blocked",
        Cause::Address => "address throttled",
        Cause::Deadline => "deadline",
    }
}
