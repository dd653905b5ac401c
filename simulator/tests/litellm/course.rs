//! Retries, pauses and fallbacks: how many calls, where to, and what the client is told in the end.

use stormproof_router::core::{Deployment, Duration, Ending, Facts, KeyId, ModelId, Reason, Timestamp, UpstreamId};
use stormproof_simulator::baselines::litellm::{Options, RetryPolicy, Version};
use stormproof_simulator::clients::{Arrivals, TraceTurn};
use stormproof_simulator::engine::Day;
use stormproof_simulator::world::{Reply, Scripted};

use crate::pool::{FREE, MISTRAL, PAID, day, settings};
use crate::watch::{Told, at, watch};

const VERSIONS: [Version; 2] = [Version::V1_66, Version::V1_109];
const GROUPS: [&str; 3] = ["gemini-2.5-pro", "gemini-2.5-pro-preview", "mistral-large"];

/// Options without fallbacks, whose benches are too short to matter.
fn options(version: Version) -> Options {
    let mut options = Options::new(version);
    options.cooldown_time = Duration::from_millis(1).into();
    options.openai_like.clear();
    options
}

fn falls_back(options: &mut Options, from: &str, to: &[&str]) {
    options.fallbacks.insert(from.to_owned(), to.iter().map(|name| (*name).to_owned()).collect());
}

/// One question, to a world in which these upstreams answer with these statuses.
fn failing(upstreams: &[(UpstreamId, u16, Option<Reason>)]) -> Day {
    let mut day = day(1, 1.0, false);
    day.world.script =
        upstreams.iter().map(|(upstream, status, reason)| script(*upstream, *status, *reason, None)).collect();
    day
}

fn script(upstream: UpstreamId, status: u16, reason: Option<Reason>, key: Option<KeyId>) -> Scripted {
    let facts = Facts { reason, ..Facts::default() };
    let reply = Reply { after: Duration::from_millis(30), ending: Ending::Status(status), facts };
    Scripted { from: Timestamp::ZERO, until: Timestamp::MAX, key, upstream: Some(upstream), times: None, reply }
}

fn ask(day: &Day, options: &Options) -> Told {
    let mut told = watch(day, &settings(), options, 1).told;
    told.remove(0)
}

fn path(told: &Told) -> Vec<u16> {
    told.called.iter().map(|(_, upstream)| upstream.get()).collect()
}

#[test]
fn each_group_gets_its_own_retries_depth_first() {
    for version in VERSIONS {
        let mut options = options(version);
        falls_back(&mut options, GROUPS[0], &[GROUPS[1], GROUPS[2]]);
        falls_back(&mut options, GROUPS[1], &[GROUPS[2]]);
        let all = failing(&[(FREE, 500, None), (PAID, 500, None), (MISTRAL, 500, None)]);
        let told = ask(&all, &options);
        let again = if version == Version::V1_66 { [2; 3].as_slice() } else { &[] };
        assert_eq!(
            path(&told),
            [&[0, 0, 0, 1, 1, 1, 2, 2, 2], again].concat(),
            "{version:?}: who was visited already?"
        );
        assert_eq!(told.status(), 500);
    }
}

#[test]
fn a_loop_of_fallbacks_ends_at_its_depth_or_with_the_visited() {
    for (version, groups) in [(Version::V1_66, 6), (Version::V1_109, 2)] {
        let mut options = options(version);
        options.num_retries = 0;
        falls_back(&mut options, GROUPS[0], &[GROUPS[1]]);
        falls_back(&mut options, GROUPS[1], &[GROUPS[0]]);
        let told = ask(&failing(&[(FREE, 500, None), (PAID, 500, None)]), &options);
        assert_eq!(told.called.len(), groups, "{version:?}");
        options.max_fallbacks = 1;
        let told = ask(&failing(&[(FREE, 500, None), (PAID, 500, None)]), &options);
        assert_eq!(path(&told), [0, 1]);
    }
}

#[test]
fn a_group_does_not_fall_back_to_itself() {
    for version in VERSIONS {
        let mut options = options(version);
        options.default_fallbacks = vec![GROUPS[0].to_owned()];
        let told = ask(&failing(&[(FREE, 500, None)]), &options);
        assert_eq!(path(&told), [0, 0, 0]);
    }
}

#[test]
fn refusals_that_repeating_does_not_cure() {
    for version in VERSIONS {
        let early = version == Version::V1_66;
        let mut options = options(version);
        falls_back(&mut options, GROUPS[0], &[GROUPS[1]]);
        let calls = |status, reason| {
            let told = ask(&failing(&[(FREE, status, reason)]), &options);
            (path(&told), told.status())
        };
        assert_eq!(calls(404, None), (vec![0, 1], 200), "a missing model is never retried");
        let malformed = if early { (vec![0, 0, 0, 1], 200) } else { (vec![0], 400) };
        assert_eq!(calls(400, None), malformed, "{version:?}: is a malformed request worth repeating?");
        assert_eq!(calls(403, None), (vec![0, 0, 0, 1], 200));
        assert_eq!(calls(422, None).0, if early { vec![0, 0, 0, 1] } else { vec![0, 1] });
        assert_eq!(calls(400, Some(Reason::KeyInvalid)), (vec![0, 0, 0, 1], 200));
    }
}

/// Only the later version remembers which keys were refused: two dead ones of the pool cost it two calls, not the request.
#[test]
fn the_later_version_avoids_keys_that_were_refused() {
    let mut day = day(200, 2.0, false);
    for key in 0..20 {
        day.world.script.push(script(FREE, 403, None, Some(KeyId::new(key))));
    }
    for version in VERSIONS {
        let mut options = options(version);
        options.num_retries = 20;
        let told = watch(&day, &settings(), &options, 1).told;
        let repeats = |told: &Told| {
            let mut used: Vec<_> = told.called.clone();
            used.sort_unstable();
            used.dedup();
            told.called.len() - used.len()
        };
        let repeated: usize = told.iter().map(repeats).sum();
        assert_eq!(
            repeated == 0,
            version == Version::V1_109,
            "{version:?}: {repeated} calls to a key that had refused"
        );
        assert_eq!(told.iter().all(Told::answered), version == Version::V1_109);
    }
}

#[test]
fn other_lists_for_prompts_that_do_not_fit_or_are_blocked() {
    for version in VERSIONS {
        for (reason, content) in [(Reason::ContextWindow, false), (Reason::ContentBlocked, true)] {
            let mut options = options(version);
            falls_back(&mut options, GROUPS[0], &[GROUPS[1]]);
            let list =
                if content { &mut options.content_policy_fallbacks } else { &mut options.context_window_fallbacks };
            list.insert(GROUPS[0].to_owned(), vec![GROUPS[2].to_owned()]);
            let told = ask(&failing(&[(FREE, 400, Some(reason))]), &options);
            assert_eq!(path(&told), [0, 2], "{version:?}, {reason:?}");
        }
    }
}

#[test]
fn retry_policies_by_exception() {
    for version in VERSIONS {
        let early = version == Version::V1_66;
        let policy = RetryPolicy {
            rate_limit_error_retries: Some(4),
            internal_server_error_retries: Some(5),
            bad_request_error_retries: Some(0),
            ..RetryPolicy::default()
        };
        let mut options = options(version);
        options.model_group_retry_policy.insert(GROUPS[0].to_owned(), policy);
        let calls = |status| ask(&failing(&[(FREE, status, None)]), &options).called.len();
        assert_eq!(calls(429), 5);
        assert_eq!(calls(500), if early { 3 } else { 6 }, "1.66 has the field and never reads it");
        assert_eq!(calls(400), 1);
    }
}

/// Two keys that answer 429. The early version benches both with one request, goes on retrying the empty pool through
/// its pauses, and sleeps once more for nothing. The later one counts one failure a request, and stops when nothing is
/// left. Only it tells a client when to come back, and not the truth.
#[test]
fn retrying_an_empty_pool() {
    let mut settings = settings();
    settings.deployments.retain(|deployment: &Deployment| deployment.tier.get() == 1);
    let mut day = failing(&[(PAID, 429, None)]);
    let asks =
        [0, 100, 1000].map(|secs| TraceTurn { at: at(f64::from(secs)), input: None, output: None, leaves: None });
    day.clients[0].arrivals = Arrivals::Trace(asks.to_vec());
    day.clients[0].model = ModelId::new(1);
    day.duration = Duration::from_secs(1001);
    for (version, calls) in [(Version::V1_66, [2, 0, 0]), (Version::V1_109, [4, 1, 0])] {
        let mut options = options(version);
        options.cooldown_time = Duration::from_secs(2000).into();
        options.num_retries = 3;
        let told = watch(&day, &settings, &options, 1).told;
        assert_eq!(told.iter().map(|told| told.called.len()).collect::<Vec<_>>(), calls, "{version:?}");
        assert!(told.iter().all(|told| told.status() == 429));
        // Before the third and the fourth attempt and once more: (1 + 2 + 4 s) x U(0, 0.75).
        let early = version == Version::V1_66;
        let took = told[0].closed.since(told[0].arrived).saturating_sub(Duration::from_millis(30 * calls[0] as u64));
        assert!(took < Duration::from_millis(5250) && (took > Duration::ZERO) == early, "{version:?} slept {took}");
        let advice: Vec<_> = told.iter().filter_map(|told| told.verdict.as_ref()?.retry_after).collect();
        assert_eq!(advice, if early { vec![] } else { vec![Duration::from_secs(2000)] });
    }
}

/// Under 1.66 the OpenAI library makes three calls of one attempt at Mistral; a key in trouble costs nine.
#[test]
fn the_library_underneath_repeats() {
    for (version, calls) in [(Version::V1_66, 3), (Version::V1_109, 1)] {
        let mut options = options(version);
        options.openai_like = vec!["mistral".to_owned()];
        options.num_retries = 0;
        for stream in [false, true] {
            let mut day = failing(&[(MISTRAL, 500, None)]);
            day.clients[0].model = ModelId::new(2);
            day.clients[0].stream = stream;
            let told = ask(&day, &options);
            assert_eq!(told.called.len(), calls, "{version:?}");
            assert_eq!(told.status(), 500, "such streams are opened before anything is promised");
        }
    }
}

/// An order is a preference of the later version only, and the next order is its first fallback.
#[test]
fn orders_are_obeyed_by_the_later_version() {
    let mut settings = settings();
    for deployment in &mut settings.deployments {
        deployment.order = u8::from(deployment.key.get() >= 10) * 2 + 1;
    }
    for version in VERSIONS {
        let mut options = options(version);
        options.num_retries = 1;
        let healthy = watch(&day(50, 2.0, false), &settings, &options, 1).told;
        let second = healthy.iter().filter(|told| told.called[0].0.get() >= 10).count();
        assert_eq!(second == 0, version == Version::V1_109);
        let mut broken = day(50, 2.0, false);
        broken.world.script = (0..10).map(|key| script(FREE, 500, None, Some(KeyId::new(key)))).collect();
        options.disable_cooldowns = true;
        let told = watch(&broken, &settings, &options, 1).told;
        let paths = told.iter().all(|told| told.answered() && told.called.len() == 3 && told.called[2].0.get() >= 10);
        assert_eq!(paths, version == Version::V1_109);
    }
}
