//! What a failure leads to: whom it is held against, who serves next, and how long anybody rests.

use stormproof_router::core::{
    Action, Arrived, Cause, ChargeErrors, Duration, Ending, Endpoint, Facts, Input, Limits, ModelId, Note, Outcome,
    Provenance, Reason, Scope, Tokens, Transport, Violation, Violations, Why,
};

use super::given::{Decisions, Table, a_model, a_request, day_quota, rpd, rpm, secs, settings};

fn cooled(table: &Table) -> Vec<(Scope, Cause)> {
    table.router.cooldowns().iter().map(|view| (view.scope, view.cause)).collect()
}

#[test]
fn an_overload_cools_nobody_and_is_tried_again_after_a_back_off() {
    let mut table = Table::new(settings(&[("free", 3, rpm(5), 0)]));
    let first = table.start();
    table.answer(&first, 503).nothing();
    assert_eq!(cooled(&table), []);
    let again = table.pass(secs(1)).the_dispatch();
    assert_eq!(again.why, Why::Retry { before: 1 });
    assert_ne!(table.key(&again), table.key(&first), "another key, if there is one");
    let verdict = table.answer(&again, 200).the_verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::Answered, 2));
}

#[test]
fn a_minute_quota_rests_its_project_and_another_serves_at_once() {
    let mut table = Table::new(settings(&[("free", 2, rpm(5), 0)]));
    let first = table.start();
    let facts = Facts { retry_after: Some(secs(30)), ..Facts::default() };
    let second = table.finish(&first, Ending::Status(429), facts).the_dispatch();
    assert_ne!(table.key(&second), table.key(&first));
    let view = table.router.cooldowns()[0];
    assert_eq!((view.cause, view.provenance), (Cause::RateMinute, Provenance::Authoritative));
    assert!(view.until >= table.now + secs(30) && view.until <= table.now + secs(31), "the delay and some jitter");
    assert_eq!(table.router.tiers()[0].used_minute, 1, "the refused call is not charged");
}

#[test]
fn a_day_quota_with_a_short_delay_is_doubted_once() {
    for answered in [true, false] {
        let mut table = Table::new(settings(&[("free", 1, rpm(5), 0), ("paid", 1, rpm(5), 1)]));
        let first = table.start();
        let spilled = table.finish(&first, Ending::Status(429), day_quota(Some(40))).the_dispatch();
        assert_eq!(table.tier(&spilled), "paid");
        table.pass(secs(10));
        let before = table.start();
        assert_eq!(table.tier(&before), "paid", "not before the delay is over, and that is too long to wait for");
        table.pass(secs(30));
        let probe = table.start();
        assert!(matches!(probe.why, Why::Probe { .. }) && table.tier(&probe) == "free");
        table.arrive(a_request()).nothing();
        if answered {
            let beside = table.answer(&probe, 200).the_dispatch();
            assert_eq!(cooled(&table), [], "a good answer overturns the day");
            assert_eq!(table.tier(&beside), "free", "who has waited for it gains by it");
        } else {
            let both = table.finish(&probe, Ending::Status(429), day_quota(Some(40))).dispatched;
            assert!(
                both.len() == 2 && both.iter().all(|dispatch| table.tier(dispatch) == "paid"),
                "one probe: {both:?}"
            );
            table.pass(secs(100));
            let later = table.start();
            assert_eq!(table.tier(&later), "paid", "no second doubt");
            table.pass(secs(3600));
            let tomorrow = table.start();
            assert_eq!(table.tier(&tomorrow), "free", "the day is over");
        }
    }
}

#[test]
fn a_dead_key_is_retired_alerted_once_and_comes_back_only_by_order() {
    let mut table = Table::new(settings(&[("free", 2, rpm(50), 0)]));
    let both = [table.start(), table.start()];
    let dead = table.key(&both[0]);
    let facts = Facts { reason: Some(Reason::KeySuspended), ..Facts::default() };
    let other = table.finish(&both[0], Ending::Status(403), facts).the_dispatch();
    let alerts = |table: &Table| table.notes.iter().filter(|note| matches!(note, Note::Alert { .. })).count();
    assert_eq!((alerts(&table), cooled(&table)), (1, vec![(Scope::Key(dead), Cause::Dead)]));
    assert_ne!(table.key(&other), dead);
    table.pass(secs(100_000));
    for _ in 0..10 {
        let dispatch = table.start();
        assert_ne!(table.key(&dispatch), dead);
        table.answer(&dispatch, 200);
    }
    table.act(Action::RestoreKey { key: dead });
    let keys = table.start_keys(2);
    assert!(keys.contains(&dead));
}

#[test]
fn a_missing_quota_retires_the_project_for_that_model_only() {
    let mut given = settings(&[("free", 1, rpm(5), 0), ("other", 1, rpm(5), 0)]);
    // The one key serves both models.
    given.deployments[1].key = given.deployments[0].key;
    let mut table = Table::new(given);
    let first = table.start();
    let violations = Violations { requests_day: Violation::Limit(0), ..Violations::default() };
    let facts = Facts { violations, retry_after: Some(secs(33)), ..Facts::default() };
    let second = table.finish(&first, Ending::Status(429), facts).the_dispatch();
    assert_eq!((table.tier(&second), table.key(&second)), ("other", table.key(&first)));
    table.pass(secs(7200));
    let later = table.start();
    assert_eq!(table.tier(&later), "other");
}

#[test]
fn a_refused_key_rests_an_hour_and_returns_by_one_probe() {
    let mut table = Table::new(settings(&[("free", 2, rpm(50), 0)]));
    let first = table.start();
    let refused = table.key(&first);
    table.answer(&first, 401);
    table.pass(secs(3601));
    let started: Vec<_> = (0..4).map(|_| table.start()).collect();
    let probes: Vec<_> = started.iter().filter(|dispatch| table.key(dispatch) == refused).copied().collect();
    assert_eq!(probes.len(), 1, "half-open: one at a time");
    assert!(matches!(probes[0].why, Why::Probe { .. }));
    table.answer(&probes[0], 200);
    let keys = table.start_keys(4);
    assert!(keys.iter().filter(|key| **key == refused).count() >= 2, "a good probe closes it: {keys:?}");
}

#[test]
fn a_429_without_details_rests_the_key_longer_each_time() {
    let mut table = Table::new(settings(&[("free", 1, rpm(50), 0)]));
    let mut dispatch = table.start();
    let mut lengths = Vec::new();
    for _ in 0..3 {
        table.answer(&dispatch, 429);
        let length = table.router.cooldowns()[0].until.since(table.now);
        lengths.push(length.as_secs_f64());
        dispatch = table.pass(length).the_dispatch();
    }
    for (length, base) in lengths.iter().zip([5.0, 10.0, 20.0]) {
        assert!((base / 2.0..=base).contains(length), "{lengths:?}");
    }
}

#[test]
fn refusals_that_were_on_their_way_together_are_one() {
    let mut table = Table::new(settings(&[("free", 1, rpm(50), 0)]));
    let crowd: Vec<_> = (0..8).map(|_| table.start()).collect();
    table.pass(secs(1));
    for dispatch in &crowd {
        table.answer(dispatch, 429).nothing();
    }
    assert!(table.router.cooldowns()[0].until <= table.now + secs(5), "eight at once do not make minutes");
}

#[test]
fn a_refusal_among_answers_does_not_lengthen_the_rest() {
    let mut table = Table::new(settings(&[("free", 1, rpm(500), 0)]));
    let mut crowd: Vec<_> = (0..8).map(|_| table.start()).collect();
    for _ in 0..8 {
        table.pass(Duration::from_millis(200));
        // The refusal is known at once, the answers beside it later.
        let (one, others) = crowd.split_first().expect("somebody asks");
        table.answer(one, 429);
        let rest = table.router.cooldowns()[0].until.since(table.now);
        assert!(rest <= secs(10), "one refusal among eight calls, again and again: {rest}");
        let mut started = table.pass(secs(2)).dispatched;
        for dispatch in others {
            started.extend(table.answer(dispatch, 200).dispatched);
        }
        for _ in 0..7 {
            started.extend(table.arrive(a_request()).dispatched);
        }
        started.extend(table.pass(secs(14)).dispatched);
        assert_eq!(started.len(), 8, "who was refused and seven more");
        crowd = started;
    }
}

#[test]
fn nobody_is_turned_away_while_a_probe_of_a_refused_key_is_out() {
    let mut given = settings(&[("free", 1, rpm(50), 0)]);
    given.models[0].deadline = secs(40);
    let mut table = Table::new(given);
    for _ in 0..12 {
        let dispatch = table.start();
        table.answer(&dispatch, 200);
    }
    let first = table.start();
    table.answer(&first, 429).nothing();
    let probe = table.pass(secs(5)).the_dispatch();
    assert!(matches!(probe.why, Why::Probe { .. }));
    let beside: Vec<_> = (0..4).map(|_| table.arrive(a_request())).collect();
    beside.iter().for_each(Decisions::nothing);
    // Refusals come at once: what has not come by now does not come.
    let accept_after = table.settings.knobs.health_accept_after;
    let started = table.pass(accept_after).dispatched;
    assert_eq!(started.len(), 4, "{started:?}");
    assert_eq!(cooled(&table), []);
    // A refusal that comes late after all is another in a row.
    table.answer(&probe, 429);
    assert!(table.router.cooldowns()[0].until >= table.now + secs(5));
}

#[test]
fn a_probe_does_not_overturn_what_was_said_after_it_was_sent() {
    let mut table = Table::new(settings(&[("free", 1, rpm(50), 0)]));
    let first = table.start();
    let other = table.start();
    table.answer(&first, 429);
    let probe = table.pass(secs(5)).the_dispatch();
    let facts = Facts { reason: Some(Reason::KeySuspended), ..Facts::default() };
    table.finish(&other, Ending::Status(403), facts);
    let dead = [(Scope::Key(table.key(&probe)), Cause::Dead)];
    assert_eq!(cooled(&table), dead);
    table.answer(&probe, 200);
    assert_eq!(cooled(&table), dead, "it was sent before");
}

#[test]
fn server_errors_of_one_key_are_the_keys_and_of_many_the_models() {
    let given = settings(&[("free", 4, rpm(100), 0)]);
    let (mut table, mut other) = (Table::new(given.clone()), Table::new(given));
    // One key fails five times while the others answer.
    let mut failed = 0;
    for _ in 0..60 {
        let dispatch = table.start();
        if table.key(&dispatch).get() == 0 {
            failed += 1;
            table.answer(&dispatch, 500);
            for dispatch in table.pass(secs(1)).dispatched {
                table.answer(&dispatch, 200);
            }
        } else {
            table.answer(&dispatch, 200);
        }
        if !cooled(&table).is_empty() {
            break;
        }
    }
    assert_eq!((failed, cooled(&table)), (5, vec![(Scope::Key(table.settings.deployments[0].key), Cause::Server)]));
    // All of them fail: nobody is benched, the model is degraded.
    for _ in 0..4 {
        let dispatch = other.start();
        other.answer(&dispatch, 500);
        other.pass(Duration::from_millis(100));
    }
    assert_eq!((cooled(&other), other.router.tiers()[0].degraded), (vec![], true));
}

#[test]
fn a_request_at_fault_goes_back_as_it_is_and_harms_nobody() {
    let mut table = Table::new(settings(&[("free", 2, rpm(5), 0)]));
    let dispatch = table.start();
    let decisions = table.answer(&dispatch, 400);
    let verdict = decisions.the_verdict();
    assert_eq!((verdict.outcome, verdict.status, decisions.relayed.len()), (Outcome::Failed, 400, 1));
    assert!(cooled(&table).is_empty() && table.router.tiers()[0].failure < 0.02);
}

#[test]
fn a_missing_model_spills_without_walking_all_keys() {
    let mut table = Table::new(settings(&[("free", 5, rpm(5), 0), ("paid", 1, rpm(5), 1)]));
    let dispatch = table.start();
    let next = table.answer(&dispatch, 404).the_dispatch();
    assert_eq!(table.tier(&next), "paid");
    assert!(matches!(cooled(&table)[..], [(Scope::ProjectModel(..), Cause::NotFound)]));
}

#[test]
fn a_throttled_address_rests_the_provider() {
    let mut table = Table::new(settings(&[("free", 3, rpm(5), 0)]));
    let dispatch = table.start();
    let facts = Facts { reason: Some(Reason::AddressThrottled), retry_after: Some(secs(20)), ..Facts::default() };
    table.finish(&dispatch, Ending::Status(429), facts).nothing();
    table.arrive(a_request()).nothing();
    let both = table.pass(secs(22)).dispatched;
    assert_eq!(both.len(), 2, "and all who waited start when it is over");
}

#[test]
fn panic_ignores_soft_cooldowns_and_hard_ones_never() {
    let mut given = settings(&[("free", 3, rpm(100), 0)]);
    given.knobs.trip_consecutive = 1;
    // So that each single failure is held against its key.
    given.knobs.scope_distinct_keys = 8;
    given.knobs.cooldown_base = secs(100);
    let mut table = Table::new(given);
    for _ in 0..12 {
        let dispatch = table.start();
        table.answer(&dispatch, 200);
    }
    let mut rested = Vec::new();
    while table.router.cooldowns().len() < 2 {
        let dispatch = table.start();
        rested.push(table.key(&dispatch));
        table.answer(&dispatch, 500);
        for dispatch in table.pass(secs(1)).dispatched {
            table.answer(&dispatch, 200);
        }
    }
    // Two of three rest for soft reasons; the last one dies.
    let dispatch = table.start();
    let alive = table.key(&dispatch);
    assert!(!rested.contains(&alive), "while one is usable there is no panic");
    let facts = Facts { reason: Some(Reason::KeyInvalid), ..Facts::default() };
    let again = table.finish(&dispatch, Ending::Status(400), facts).the_dispatch();
    assert_eq!(again.why, Why::Panic { usable_ppm: 0 });
    assert!(rested.contains(&table.key(&again)));
}

#[test]
fn learning_asks_once_an_hour_whether_failed_calls_count() {
    let mut given = settings(&[("free", 1, rpm(2), 0)]);
    given.knobs.rate_charge_errors = ChargeErrors::Learn;
    // Degraded mode would throttle what is asked here.
    given.knobs.trip_ratio = 0.99;
    let mut table = Table::new(given);
    let mut dispatch = table.start();
    for _ in 0..2 {
        table.answer(&dispatch, 503);
        dispatch = table.pass(secs(1)).the_dispatch();
    }
    assert!(matches!(dispatch.why, Why::Probe { .. }), "two failures fill the quota: the third call asks");
    let minute = Violations { requests_minute: Violation::Unvalued, ..Violations::default() };
    table.finish(&dispatch, Ending::Status(429), Facts { violations: minute, ..Facts::default() });
    table.pass(secs(30)).nothing();
    let next = table.pass(secs(40)).the_dispatch();
    assert!(matches!(next.why, Why::Retry { .. }), "they count, so it waited for the window");
}

#[test]
fn learning_believes_what_two_projects_answer() {
    let mut given = settings(&[("free", 2, rpm(1), 0)]);
    given.knobs.rate_charge_errors = ChargeErrors::Learn;
    given.knobs.trip_ratio = 0.99;
    let mut table = Table::new(given);
    let both = [table.start(), table.start()];
    both.iter().for_each(|dispatch| table.answer(dispatch, 503).nothing());
    let probes = table.pass(secs(2)).dispatched;
    assert_eq!(probes.len(), 2, "each project asks once");
    for probe in &probes {
        table.answer(probe, 503);
    }
    table.pass(secs(5)).nothing();
    table.pass(secs(3700));
    let both: Vec<_> = (0..2).map(|_| table.start()).collect();
    both.iter().for_each(|dispatch| table.answer(dispatch, 503).nothing());
    for probe in table.pass(secs(2)).dispatched {
        table.answer(&probe, 200);
    }
    // Both windows hold a failure and an answer; with failures free there is no room, without the answers there is.
    table.pass(secs(61));
    for dispatch in [table.start(), table.start()] {
        table.answer(&dispatch, 503);
    }
    let retries = table.pass(secs(2)).dispatched;
    assert!(retries.iter().all(|retry| matches!(retry.why, Why::Retry { .. })) && retries.len() == 2, "{retries:?}");
}

#[test]
fn an_answer_that_breaks_off_is_repeated_only_while_the_client_has_seen_nothing() {
    let mut table = Table::new(settings(&[("free", 2, rpm(50), 0)]));
    let whole = table.start();
    table.break_off(&whole, Transport::Cut).nothing();
    let again = table.pass(secs(1)).the_dispatch();
    assert_eq!(table.answer(&again, 200).the_verdict().outcome, Outcome::Answered);

    let stream = table.arrive(Arrived { stream: true, ..a_request() }).the_dispatch();
    let input = Input::FirstByte { attempt: stream.attempt };
    assert_eq!(table.hand_in(input).relayed, [stream.request]);
    table.pass(secs(500)).nothing();
    let cut = table.break_off(&stream, Transport::Cut);
    assert_eq!((cut.the_verdict().outcome, cut.dispatched.len()), (Outcome::Cut, 0));
}

#[test]
fn retries_end_by_class_by_number_and_by_the_deadline() {
    let mut given = settings(&[("free", 3, rpm(500), 0)]);
    given.retries.server = Some(1);
    given.knobs.retry_max_attempts = 4;
    let mut table = Table::new(given);
    let first = table.start();
    table.break_off(&first, Transport::Reset);
    let second = table.pass(secs(1)).the_dispatch();
    let verdict = table.break_off(&second, Transport::Reset).the_verdict();
    assert_eq!((verdict.outcome, verdict.status, verdict.attempts), (Outcome::Failed, 503, 2));
    assert_eq!(verdict.causes[0].cause, Cause::Attempts);

    let mut dispatch = table.start();
    for _ in 0..3 {
        table.answer(&dispatch, 503).nothing();
        dispatch = table.pass(secs(5)).the_dispatch();
    }
    assert_eq!(table.answer(&dispatch, 503).the_verdict().outcome, Outcome::Failed);

    let hung = table.start();
    let late = table.pass(secs(180));
    assert_eq!(
        (late.abandoned.len(), late.the_verdict().outcome, late.the_verdict().status),
        (1, Outcome::Deadline, 504)
    );
    table.break_off(&hung, Transport::Abandoned).nothing();
    assert_eq!(table.router.load().attempts, 0);
}

#[test]
fn the_prompt_that_is_too_long_and_the_blocked_one_go_where_the_settings_say() {
    let mut given = settings(&[("small", 1, rpm(50), 0), ("large", 1, rpm(50), 0), ("frank", 1, rpm(50), 0)]);
    given.tiers[0].input_max = Some(Tokens::new(500));
    let model = |name: &str, tier| a_model(name, &[tier]);
    given.models = vec![model("small", 0), model("large", 1), model("frank", 2)];
    given.models[0].context_fallback = Some(ModelId::new(1));
    given.models[1].content_fallback = Some(ModelId::new(2));
    let mut table = Table::new(given);
    let dispatch = table.start();
    assert_eq!(table.tier(&dispatch), "large", "known beforehand");
    let blocked = Facts { reason: Some(Reason::ContentBlocked), ..Facts::default() };
    let next = table.finish(&dispatch, Ending::Status(200), blocked).the_dispatch();
    assert_eq!(table.tier(&next), "frank");
    let verdict = table.finish(&next, Ending::Status(200), blocked).the_verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Failed, 200), "nowhere else to go");
}

#[test]
fn embeddings_are_not_held_up_by_the_models_overload_or_quota() {
    let two_a_minute_and_a_day = Limits { rpm: Some(2), rpd: Some(2), ..Limits::default() };
    let mut table = Table::new(settings(&[("free", 1, two_a_minute_and_a_day, 0)]));
    let first = table.start();
    table.answer(&first, 503);
    table.pass(secs(1));
    assert_eq!(table.arrive(a_request()).the_verdict().causes[0].cause, Cause::RateDay);
    let embed = table.arrive(Arrived { endpoint: Endpoint::Embed, ..a_request() }).the_dispatch();
    assert_eq!(embed.why, Why::First);
    table.answer(&embed, 200);
    assert_eq!(table.router.tiers()[0].left_today, Some(0), "one for the failure, one for its repeat, none for others");
}

#[test]
fn limits_are_learnt_from_the_error_and_kept() {
    let mut table = Table::new(settings(&[("free", 1, rpm(5), 0), ("paid", 1, rpm(500), 1)]));
    let first = table.start();
    let violations = Violations { requests_minute: Violation::Limit(2), ..Violations::default() };
    table.finish(&first, Ending::Status(429), Facts { violations, ..Facts::default() });
    assert_eq!(table.router.tiers()[0].rpm, Some(2));
    table.pass(secs(3700));
    let started: Vec<_> = (0..3).flat_map(|_| table.arrive(a_request()).dispatched).collect();
    assert_eq!(started.iter().filter(|dispatch| table.tier(dispatch) == "free").count(), 2);
}

#[test]
fn used_quota_can_be_told_before_the_first_call() {
    let mut table = Table::new(settings(&[("free", 1, rpd(10), 0), ("paid", 1, rpm(500), 1)]));
    let (project, upstream) = (table.settings.keys[0].project, table.settings.tiers[0].upstream);
    table.act(Action::SetUsed { project, upstream, requests: 10 });
    let spilled = table.start();
    assert_eq!(table.tier(&spilled), "paid");
    table.pass(secs(3600));
    let tomorrow = table.start();
    assert_eq!(table.tier(&tomorrow), "free");
}
