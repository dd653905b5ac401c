//! The providers as they really are: as the configuration says, where the scenario says nothing else.

use std::collections::BTreeMap;

use stormproof_router::config::{At, Dialect, Period, Projects, Report, Share, suggest};
use stormproof_router::core::{
    Action, Duration, Ending, Facts, ProjectId, Reason, Tier, Timestamp, UpstreamId, Violation, Violations, WallTime,
};

use super::file::{self, AnswerWord, Latency, LimitsTruth, Per, ProjectsTruth, QuotaWord, UsedWord, ViolatedWord};
use super::names::Scene;
use super::quantity::Moment;
use crate::engine::Happening;
use crate::world::{self, Episode, Follows, Key, Process, Project, Quota, Reply, Spec, Throttle, Wording};

/// The world of a scenario, and what happens at its start.
pub(super) fn world(
    scene: &Scene<'_>,
    written: &file::ScenarioFile,
    report: &mut Report,
) -> (Spec, Vec<(Timestamp, Happening)>) {
    let world = &written.world;
    let buckets = buckets(scene, world, report);
    let mut spec = Spec {
        resets: resets(scene),
        keys: buckets.iter().map(|project| Key { project: *project, deaths: Vec::new() }).collect(),
        projects: quotas(scene, world, &buckets, report),
        upstreams: (0..scene.settings.upstreams.len()).map(|index| upstream(scene, world, index, report)).collect(),
        ..Spec::default()
    };
    for (name, _) in world.upstreams.iter() {
        scene.upstream(name, report);
    }
    for weather in &world.weather {
        add_weather(scene, weather, &mut spec, report);
    }
    check_follows(world, &spec, scene, report);
    for throttle in &world.throttles {
        let (from, until) = scene.clock.interval(throttle.from.as_ref(), throttle.until.as_ref(), report);
        let Some(provider) = scene.provider(&throttle.provider, report) else { continue };
        spec.throttles.push(Throttle { provider, from, until, rpm: throttle.rpm.0, says_so: throttle.says_so });
    }
    for death in &world.deaths {
        let (from, until) = scene.clock.interval(death.from.as_ref(), death.until.as_ref(), report);
        let upstream = death.upstream.as_ref().and_then(|name| scene.upstream(name, report));
        let Some(key) = scene.key(&death.key, report) else { continue };
        let reason = death.reason.into();
        spec.keys[key.index()].deaths.push(world::Death { from, until, upstream, reason });
    }
    spec.script = world.script.iter().map(|scripted| script(scene, scripted, report)).collect();
    let happenings = use_before(scene, written, &mut spec, &buckets, report);
    (spec, happenings)
}

/// The quota-day resets that matter to the day, and the first after it.
fn resets(scene: &Scene<'_>) -> Vec<Timestamp> {
    let start = scene.clock.start;
    let end = start + scene.clock.duration + Duration::from_secs(86_400);
    let within = |reset: &&WallTime| **reset <= end + Duration::from_secs(86_400);
    scene.settings.resets.iter().take_while(within).map(|reset| Timestamp::ZERO + reset.since(start)).collect()
}

/// The true quota bucket of every key.
fn buckets(scene: &Scene<'_>, world: &file::World, report: &mut Report) -> Vec<u32> {
    let mut buckets: Vec<u32> = scene.settings.keys.iter().map(|key| key.project.get()).collect();
    let mut next = u32::try_from(scene.settings.projects.len()).unwrap_or(u32::MAX);
    for (name, truth) in world.projects.iter() {
        if scene.config.keys.named(name).is_none() {
            let known = scene.config.keys.names();
            report.say(name.spot, format!("there is no key group `{}`; {}", name.value, suggest(name, known)));
            continue;
        }
        let keys = scene.group(name);
        let dealt: Vec<u32> = match &truth.value {
            ProjectsTruth::Named(Projects::Shared) => vec![0; keys.len()],
            ProjectsTruth::Named(Projects::Separate) => (0..).take(keys.len()).collect(),
            ProjectsTruth::Number(number) => (0..*number).cycle().take(keys.len()).collect(),
            ProjectsTruth::Named(Projects::Named(names)) => {
                if names.len() != keys.len() {
                    let message = format!(
                        "the keys are {1} and the buckets named for them {0}; name one for each key, in order",
                        names.len(),
                        keys.len()
                    );
                    report.say(truth.spot, message);
                }
                let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
                let number = |name| {
                    let fresh = u32::try_from(seen.len()).unwrap_or(u32::MAX);
                    *seen.entry(name).or_insert(fresh)
                };
                names.iter().map(String::as_str).map(number).collect()
            }
        };
        for (key, bucket) in keys.into_iter().zip(&dealt) {
            buckets[key] = next.saturating_add(*bucket);
        }
        next = next.saturating_add(dealt.iter().max().map_or(0, |most| most + 1));
    }
    buckets
}

/// The true quota of every bucket: what the tier of its keys says, corrected.
fn quotas(scene: &Scene<'_>, world: &file::World, buckets: &[u32], report: &mut Report) -> Vec<Project> {
    let settings = scene.settings;
    let count = buckets.iter().copied().chain(settings.keys.iter().map(|key| key.project.get())).max();
    let unlimited = Project { quotas: vec![Quota::default(); settings.upstreams.len()] };
    let mut projects = vec![unlimited; count.map_or(0, |most| most as usize + 1)];
    let configured: Vec<(usize, &Tier)> =
        settings.deployments.iter().map(|one| (one.key.index(), &settings.tiers[one.tier.index()])).collect();
    for (key, tier) in &configured {
        let quota = &mut projects[buckets[*key] as usize].quotas[tier.upstream.index()];
        let limits = tier.limits;
        *quota = Quota { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd, ..Quota::default() };
    }
    let LimitsTruth::Differing(differing) = &world.limits else { return projects };
    for (name, truth) in differing.iter() {
        let Some(upstream) = scene.upstream(name, report) else { continue };
        let correct = |limit: &mut Option<u32>, word: Option<QuotaWord>| match word {
            None => {}
            Some(QuotaWord::None) => *limit = None,
            Some(QuotaWord::Limit(number)) => *limit = Some(number),
        };
        for (key, _) in configured.iter().filter(|(_, tier)| tier.upstream == upstream) {
            let quota = &mut projects[buckets[*key] as usize].quotas[upstream.index()];
            correct(&mut quota.rpm, truth.rpm);
            correct(&mut quota.tpm, truth.tpm);
            correct(&mut quota.rpd, truth.rpd);
            correct(&mut quota.tpd, truth.tpd);
        }
    }
    projects
}

/// One upstream model: what `upstreams` says of it, else what all have in common, else what is usual.
fn upstream(scene: &Scene<'_>, world: &file::World, index: usize, report: &mut Report) -> world::Upstream {
    let known = &scene.settings.upstreams[index];
    let provider = &scene.settings.providers[known.provider.index()].name;
    let own =
        world.upstreams.named(&known.model).or_else(|| world.upstreams.named(&format!("{provider}/{}", known.model)));
    let own = own.cloned().unwrap_or_default();
    let usual = world::Upstream::default();
    let dialect = scene.config.providers.named(provider).map(|provider| provider.dialect);
    let wording = own.wording.or(world.wording).map_or_else(|| usual_wording(dialect, scene), Wording::from);
    let mut upstream = world::Upstream { provider: known.provider, wording, ..usual };
    if let Some(noise) = own.noise.or(world.noise) {
        upstream.weather.noise = noise.0;
    }
    for charged in [world.charged, own.charged].into_iter().flatten() {
        upstream.charged.overload = charged.overload.unwrap_or(upstream.charged.overload);
        upstream.charged.limit = charged.limit.unwrap_or(upstream.charged.limit);
    }
    if let Some(latency) = own.latency.or(world.latency) {
        upstream.latency = resolve_latency(&latency, report);
    }
    for refusals in [world.refusals, own.refusals].into_iter().flatten() {
        let shapes = &mut upstream.refusals;
        for (shape, written) in [
            (&mut shapes.overload, refusals.overload),
            (&mut shapes.limit, refusals.limit),
            (&mut shapes.request, refusals.request),
        ] {
            *shape = written.map_or(*shape, |drawn| drawn.shape());
        }
    }
    for pace in [world.pace, own.pace].into_iter().flatten() {
        upstream.pace.first_byte = pace.first_byte.map_or(upstream.pace.first_byte, |share| share.0);
        upstream.pace.chunk_tokens = pace.chunk_tokens.map_or(upstream.pace.chunk_tokens, |count| count.0.max(1));
    }
    if let Some(faults) = own.faults.or(world.faults) {
        upstream.faults = resolve_faults(&faults, report);
    }
    upstream
}

/// How a provider worded its errors when the day begins.
fn usual_wording(dialect: Option<Dialect>, scene: &Scene<'_>) -> Wording {
    /// 2025-06-01 and 2025-10-01, between the recorded forms of Gemini's 429.
    const SUMMER_2025: WallTime = WallTime::from_nanos(1_748_736_000_000_000_000);
    const LATE_2025: WallTime = WallTime::from_nanos(1_759_276_800_000_000_000);
    match dialect {
        Some(Dialect::Openai) => Wording::OpenAi,
        Some(Dialect::Vertex) => Wording::Vertex,
        Some(Dialect::Gemini) | None if scene.clock.start < SUMMER_2025 => Wording::GeminiSpring2025,
        Some(Dialect::Gemini) | None if scene.clock.start < LATE_2025 => Wording::GeminiSummer2025,
        Some(Dialect::Gemini) | None => Wording::GeminiLate2025,
    }
}

pub(crate) fn resolve_latency(written: &At<Latency>, report: &mut Report) -> world::Latency {
    match &written.value {
        Latency::Time(time) => world::Latency { shape: time.shape(), tokens_per_s: None, per: world::Per::Attempt },
        Latency::Detailed(detailed) => {
            if let Some(speed) = detailed.tokens_per_s.filter(|speed| !(speed.value > 0.0 && speed.value.is_finite())) {
                report.say(speed.spot, "a speed is above zero tokens per second");
            }
            let per = match detailed.per {
                Per::Turn => world::Per::Turn,
                Per::Attempt => world::Per::Attempt,
            };
            let tokens_per_s = detailed.tokens_per_s.map(|speed| speed.value);
            world::Latency { shape: detailed.time.shape(), tokens_per_s, per }
        }
    }
}

pub(crate) fn resolve_faults(written: &At<file::Faults>, report: &mut Report) -> world::Faults {
    let share = |share: Option<Share>| share.map_or(0.0, |share| share.0);
    let faults = &written.value;
    let resolved = world::Faults {
        connect: share(faults.connect),
        reset: share(faults.reset),
        server: share(faults.server),
        timeout: share(faults.timeout),
        malformed: share(faults.malformed),
        cut: share(faults.cut),
        error_event: share(faults.error_event),
        hang: share(faults.hang),
        stall: share(faults.stall),
        slow: share(faults.slow),
        spurious_limit: share(faults.spurious_limit),
        blocked: share(faults.blocked),
    };
    let sum = resolved.connect
        + resolved.reset
        + resolved.server
        + resolved.timeout
        + resolved.malformed
        + resolved.cut
        + resolved.error_event
        + resolved.hang
        + resolved.stall
        + resolved.slow
        + resolved.spurious_limit
        + resolved.blocked;
    if sum > 1.0 {
        report.say(written.spot, format!("the faults add up to {:.0}%; together they are at most 100%", sum * 100.0));
    }
    resolved
}

/// How an episode's end is written.
enum End<'a> {
    At(&'a At<Moment>),
    After(At<Period>),
}

fn add_weather(scene: &Scene<'_>, written: &file::Weather, spec: &mut Spec, report: &mut Report) {
    const KINDS: &str = "weather is one episode (`from`, `until` or `for`, `p503`), drawn episodes (`healthy`, `episode`, `p503`), or another model's (`follows`)";
    let file::Weather { upstream, from, until, lasts, p503, healthy, episode, follows, factor } = written;
    let Some(id) = scene.upstream(upstream, report) else { return };
    let weather = &mut spec.upstreams[id.index()].weather;
    if let Some(lasts) = lasts.filter(|_| until.is_some()) {
        report.say(lasts.spot, "an episode has one end; write `until` or `for`");
    }
    // Whichever of the two says when it ends.
    let end = until.as_ref().map(End::At).or(lasts.map(End::After));
    match (from, end, p503, healthy, episode, follows) {
        (Some(from), Some(end), Some(p503), None, None, None) => {
            let (from, until) = match end {
                End::At(until) => scene.clock.interval(Some(from), Some(until), report),
                End::After(lasts) => {
                    if lasts.value.0 == Duration::ZERO {
                        report.say(lasts.spot, "an episode of no length never happens; give it a length above zero");
                    }
                    let (from, _) = scene.clock.interval(Some(from), None, report);
                    (from, from + lasts.value.0)
                }
            };
            match p503.value.fixed() {
                Some(p503) => weather.episodes.push(Episode { from, until, p503 }),
                None => report.say(p503.spot, "one episode has one probability; distributions are for drawn episodes"),
            }
        }
        (None, None, Some(p503), Some(healthy), Some(episode), None) => {
            if weather.process.is_some() {
                report.say(upstream.spot, format!("`{}` has drawn episodes already; keep one", upstream.value));
            }
            if healthy.is_zero() || episode.is_zero() {
                report.say(
                    upstream.spot,
                    "phases of no length never end; give `healthy` and `episode` a length above zero",
                );
            }
            weather.process =
                Some(Process { healthy: healthy.shape(), episode: episode.shape(), p503: p503.value.shape() });
        }
        (None, None, None, None, None, Some(name)) => {
            let factor_value = factor.map_or(1.0, |factor| factor.value);
            if let Some(factor) = factor.filter(|factor| !(0.0..=100.0).contains(&factor.value)) {
                report.say(factor.spot, "a factor is from 0 to 100");
            }
            if let Some(followed) = scene.upstream(name, report) {
                weather.follows = Some(Follows { upstream: followed, factor: factor_value });
            }
        }
        (_, _, _, _, _, _) => report.say(upstream.spot, KINDS),
    }
    if let Some(factor) = factor.filter(|_| follows.is_none()) {
        report.say(factor.spot, "`factor` belongs to `follows`");
    }
}

/// A model that follows itself, or one that follows another, would share nobody's weather.
fn check_follows(world: &file::World, spec: &Spec, scene: &Scene<'_>, report: &mut Report) {
    for written in &world.weather {
        let Some(name) = &written.follows else { continue };
        let Some(followed) = scene.upstream(name, &mut Report::new(scene.config.origin())) else { continue };
        if spec.upstreams[followed.index()].weather.follows.is_some() {
            let message =
                format!("`{}` follows another model itself; name the model whose episodes they are", name.value);
            report.say(name.spot, message);
        }
    }
}

fn script(scene: &Scene<'_>, written: &file::Scripted, report: &mut Report) -> world::Scripted {
    let (from, until) = scene.clock.interval(written.from.as_ref(), written.until.as_ref(), report);
    let named = |quota| match written.violated.contains(&quota) {
        true => Violation::Unvalued,
        false => Violation::None,
    };
    let violations = Violations {
        requests_minute: named(ViolatedWord::Rpm),
        requests_day: named(ViolatedWord::Rpd),
        tokens_minute: named(ViolatedWord::Tpm),
        tokens_day: named(ViolatedWord::Tpd),
    };
    let (ending, usual) = match written.answer.value {
        AnswerWord::Status(status) => (Ending::Status(status), (status == 503).then_some(Reason::Overloaded)),
        AnswerWord::Broken(transport) => (Ending::Transport(transport), None),
    };
    let facts = Facts {
        inner_status: None,
        violations,
        retry_after: written.retry_after.map(|after| after.0),
        reason: written.reason.map(Reason::from).or(usual),
    };
    world::Scripted {
        from,
        until,
        key: written.key.as_ref().and_then(|key| scene.key(key, report)),
        upstream: written.upstream.as_ref().and_then(|upstream| scene.upstream(upstream, report)),
        times: written.times,
        reply: Reply { after: written.after.map_or(Duration::from_secs(1), |after| after.0), ending, facts },
    }
}

/// What is used of the day quotas when the day begins, and, where our router knows it, that it is told.
fn use_before(
    scene: &Scene<'_>,
    written: &file::ScenarioFile,
    spec: &mut Spec,
    buckets: &[u32],
    report: &mut Report,
) -> Vec<(Timestamp, Happening)> {
    let mut told: BTreeMap<(ProjectId, UpstreamId), u32> = BTreeMap::new();
    for (name, used) in written.used_today.iter() {
        let Some(tier) = scene.tier(name, report) else { continue };
        let upstream = scene.settings.tiers[tier.index()].upstream;
        for deployment in scene.settings.deployments.iter().filter(|one| one.tier == tier) {
            let key = deployment.key.index();
            let quota = &mut spec.projects[buckets[key] as usize].quotas[upstream.index()];
            let requests = match (used.value, quota.rpd) {
                (UsedWord::Requests(requests), _) => requests,
                // Rounded to whole requests.
                (UsedWord::Share(share), Some(rpd)) => (share * f64::from(rpd) + 0.5) as u32,
                (UsedWord::Share(_), None) => {
                    let message =
                        format!("`{}` has no day quota to use a share of; write a number of requests", name.value);
                    report.say(used.spot, message);
                    break;
                }
            };
            quota.used_requests = requests;
            told.insert((scene.settings.keys[key].project, upstream), requests);
        }
    }
    if !written.used_is_known {
        return Vec::new();
    }
    let tell = |((project, upstream), requests)| {
        (Timestamp::ZERO, Happening::Operator(Action::SetUsed { project, upstream, requests }))
    };
    told.into_iter().map(tell).collect()
}
