//! Who is served when, where and at whose cost: waiting, spilling, budgets, clients, operators, new settings.

use stormproof_router::core::{
    Action, Arrived, Cause, ClientId, Duration, Ending, Facts, Fingerprint, Input, Limits, Outcome, Price, Priority,
    RequestId, Route, Router, Scope, Spill, Strategy, Timestamp, TokenEstimate, TokenPrice, Tokens, Usd, Why,
};

use super::given::{Table, a_client, a_model, a_request, rpd, rpm, secs, settings};

fn within(patience: u64) -> Arrived {
    Arrived { deadline: Timestamp::ZERO + secs(patience), ..a_request() }
}

#[test]
fn the_most_urgent_waiter_starts_when_a_window_frees_and_nobody_else_is_woken() {
    let mut table = Table::new(settings(&[("free", 1, rpm(1), 0)]));
    table.start();
    let waits = |table: &mut Table, patience, priority| {
        table.arrive(Arrived { priority, ..within(patience) }).nothing();
        RequestId::new(table.router.load().requests as u64)
    };
    let late = waits(&mut table, 3000, Priority::Normal);
    let soon = waits(&mut table, 2000, Priority::Normal);
    let first = waits(&mut table, 4000, Priority::High);
    let last = waits(&mut table, 1000, Priority::Low);
    table.pass(secs(59)).nothing();
    let mut order = Vec::new();
    for _ in 0..4 {
        let dispatch = table.pass(secs(60)).the_dispatch();
        assert!(matches!(dispatch.why, Why::Waited { .. }));
        order.push(dispatch.request);
    }
    assert_eq!(order, [first, soon, late, last]);
}

#[test]
fn a_request_that_cannot_start_in_time_is_refused_with_the_true_time() {
    let mut table = Table::new(settings(&[("free", 2, rpm(1), 0)]));
    table.start();
    table.pass(secs(10));
    table.start();
    let verdict = table.arrive(within(30)).the_verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Refused, 503));
    assert_eq!(verdict.retry_after, Some(secs(50)), "the first window frees 60 s after its call");
    let cause = verdict.causes[0];
    assert_eq!((cause.cause, cause.usable, cause.total), (Cause::RateMinute, 2, 2));
}

#[test]
fn a_used_up_day_is_refused_until_its_reset_uncapped() {
    let mut table = Table::new(settings(&[("free", 1, rpd(1), 0)]));
    table.start();
    table.pass(secs(100));
    let verdict = table.arrive(a_request()).the_verdict();
    assert_eq!((verdict.retry_after, verdict.causes[0].cause), (Some(secs(3500)), Cause::RateDay));
}

#[test]
fn a_full_list_refuses_the_next() {
    let mut given = settings(&[("free", 1, rpm(1), 0)]);
    given.knobs.queue_capacity = 2;
    let mut table = Table::new(given);
    table.start();
    table.arrive(within(2000)).nothing();
    table.arrive(within(2000)).nothing();
    assert_eq!(table.arrive(within(2000)).the_verdict().outcome, Outcome::Refused);
}

#[test]
fn who_may_wait_waits_for_the_patience_and_then_spills() {
    let mut table = Table::new(settings(&[("free", 2, rpm(1), 0), ("paid", 1, rpm(500), 10)]));
    table.start();
    table.pass(secs(45));
    table.start();
    // 15 s until the first window: within the patience of 18 s.
    table.arrive(a_request()).nothing();
    let waited = table.pass(secs(15)).the_dispatch();
    assert_eq!(table.tier(&waited), "free");
    // 45 s until the next: too long, and known at once.
    let spilled = table.start();
    let Why::Spill { cause, .. } = spilled.why else { panic!("{spilled:?}") };
    assert_eq!((table.tier(&spilled), cause), ("paid", Spill::Patience));
}

#[test]
fn without_prediction_the_patience_is_waited_out() {
    let mut given = settings(&[("free", 1, rpm(1), 0), ("paid", 1, rpm(500), 10)]);
    given.knobs.spill_predict = false;
    let mut table = Table::new(given);
    table.start();
    table.arrive(a_request()).nothing();
    table.pass(secs(17)).nothing();
    let spilled = table.pass(secs(2)).the_dispatch();
    assert!(matches!(spilled.why, Why::Spill { cause: Spill::Patience, .. }));
}

#[test]
fn a_degraded_model_is_tried_while_it_has_room_and_left_when_it_has_none() {
    for (limit, tier) in [(500, "free"), (3, "paid")] {
        let mut table = Table::new(settings(&[("free", 1, rpm(limit), 0), ("paid", 1, rpm(500), 10)]));
        let first = table.start();
        table.answer(&first, 503).nothing();
        let second = table.pass(secs(1)).the_dispatch();
        let mut decisions = table.answer(&second, 503);
        assert!(table.router.tiers()[0].degraded);
        if decisions.dispatched.is_empty() {
            decisions = table.pass(secs(2));
        }
        let third = decisions.the_dispatch();
        assert_eq!(table.tier(&third), tier, "a chance to save ten dollars is worth a second, not ten");
    }
}

#[test]
fn starved_quota_is_left_for_better_times_but_for_ever_rarer_probes() {
    let mut given = settings(&[("free", 1, Limits { rpd: Some(500), ..rpm(500) }, 0), ("paid", 1, rpm(5000), 10)]);
    given.knobs.trip_consecutive = 0;
    let mut table = Table::new(given);
    // One request per second: 3600 until the reset, and quota for 500.
    for _ in 0..120 {
        let dispatch = table.start();
        assert_eq!(table.tier(&dispatch), "free", "in health a starved quota is used");
        table.answer(&dispatch, 200);
        table.pass(secs(1));
    }
    assert!(table.router.tiers()[0].starved);
    let (mut tried, mut open) = (Vec::new(), Vec::new());
    for second in 0..300 {
        open.push(table.start());
        while let Some(dispatch) = open.pop() {
            let free = table.tier(&dispatch) == "free";
            if free {
                tried.push(second);
            }
            open.extend(table.answer(&dispatch, if free { 503 } else { 200 }).dispatched);
        }
        open.extend(table.pass(secs(1)).dispatched);
    }
    let early = tried.iter().filter(|second| **second < 60).count();
    let late = tried.iter().filter(|second| **second >= 150).count();
    assert!((3..=9).contains(&early) && late <= 4, "{tried:?}");
}

#[test]
fn a_budget_holds_with_reservations_and_what_they_give_back_is_used() {
    let mut given = settings(&[("paid", 1, rpm(500), 0)]);
    let per_million = |dollars: i64| Usd::from_micros(dollars * 1_000_000);
    let tokens = TokenPrice { input: Usd::ZERO, cached: Usd::ZERO, output: per_million(1000) };
    given.tiers[0].price = Price { tokens, ..Price::default() };
    // A thousand tokens at most: one dollar each.
    given.tiers[0].budget = Some(per_million(2));
    let mut table = Table::new(given);
    let both = [table.start(), table.start()];
    table.arrive(a_request()).nothing();
    let view = &table.router.tiers()[0];
    assert_eq!((view.reserved, view.spent), (per_million(2), Usd::ZERO));
    // Half of the worst case is what an answer costs here; two halves make room.
    table.answer(&both[0], 200);
    let third = table.answer(&both[1], 200).the_dispatch();
    let verdict = table.answer(&third, 200).the_verdict();
    assert_eq!(verdict.spend, Usd::from_micros(500_000));
    let refused = table.arrive(a_request()).the_verdict();
    assert_eq!((refused.status, refused.causes[0].cause), (503, Cause::Budget));
    assert_eq!(refused.retry_after, Some(secs(3600)));
    table.act(Action::SetBudget { tier: table.settings.models[0].tiers[0], budget: per_million(5) });
    table.start();
}

#[test]
fn a_clients_own_limits_answer_429_and_others_are_served() {
    let mut given = settings(&[("free", 1, rpm(500), 0)]);
    given.clients.push(stormproof_router::core::Client { rpm: Some(2), ..a_client("eager") });
    given.clients.push(stormproof_router::core::Client { models: Some(Vec::new()), ..a_client("stranger") });
    let mut table = Table::new(given);
    let eager = Arrived { client: ClientId::new(1), ..a_request() };
    table.arrive(eager).the_dispatch();
    table.pass(secs(20));
    table.arrive(eager).the_dispatch();
    let verdict = table.arrive(eager).the_verdict();
    assert_eq!((verdict.status, verdict.retry_after), (429, Some(secs(40))));
    table.start();
    let stranger = Arrived { client: ClientId::new(2), ..a_request() };
    assert_eq!(table.arrive(stranger).the_verdict().status, 403);
}

#[test]
fn a_poor_client_is_refused_paid_answers_alone() {
    let mut given = settings(&[("free", 1, rpm(1), 0), ("paid", 1, rpm(500), 10)]);
    given.clients.push(stormproof_router::core::Client { budget: Some(Usd::from_micros(1)), ..a_client("poor") });
    let mut table = Table::new(given);
    let poor = Arrived { client: ClientId::new(1), ..a_request() };
    let free = table.arrive(poor).the_dispatch();
    assert_eq!(table.tier(&free), "free");
    table.arrive(poor).nothing();
    let rich = table.start();
    assert_eq!(table.tier(&rich), "paid");
    let waited = table.pass(secs(60)).the_dispatch();
    assert_eq!(table.tier(&waited), "free", "it waits for what costs nothing");
}

#[test]
fn operators_skip_pin_and_stop_tiers_for_a_time() {
    let mut table =
        Table::new(settings(&[("free", 1, rpm(500), 0), ("paid", 1, rpm(500), 10), ("spare", 1, rpm(500), 0)]));
    let tiers = table.settings.models[0].tiers.clone();
    let (until, ever) = (Timestamp::ZERO + secs(60), Timestamp::MAX);
    let chosen = |table: &mut Table| {
        let dispatch = table.start();
        table.tier(&dispatch).to_owned()
    };
    table.act(Action::SkipTier { tier: tiers[0], until });
    assert_eq!(chosen(&mut table), "paid");
    table.act(Action::StopPaid { until: ever });
    assert_eq!(chosen(&mut table), "spare");
    table.act(Action::StopPaid { until: Timestamp::ZERO });
    table.pass(secs(60));
    assert_eq!(chosen(&mut table), "free");
    table.act(Action::PinTier { tier: tiers[2], until: ever });
    assert_eq!(chosen(&mut table), "spare");
    table.act(Action::FreeTier { tier: tiers[2] });
    assert_eq!(chosen(&mut table), "free");
    let key = table.settings.deployments[0].key;
    table.act(Action::DrainKey { key, until: ever });
    assert_eq!(chosen(&mut table), "paid");
    table.act(Action::RestoreKey { key });
    table.act(Action::RetireKey { key });
    assert_eq!(chosen(&mut table), "paid");
    table.act(Action::ClearCooldown { scope: Scope::Key(key) });
    assert_eq!(chosen(&mut table), "free");
}

#[test]
fn counts_follow_the_key_when_the_file_is_reordered_and_removed_keys_drain() {
    let given = settings(&[("free", 3, rpd(5), 0)]);
    let mut table = Table::new(given.clone());
    let flights: Vec<_> = (0..3).map(|_| table.start()).collect();
    let spent = table.key(&flights[0]).index();
    let project = given.keys[spent].project;
    table.act(Action::SetUsed { project, upstream: given.tiers[0].upstream, requests: 5 });
    let mut reordered = given.clone();
    reordered.keys.reverse();
    for deployment in &mut reordered.deployments {
        deployment.key = stormproof_router::core::KeyId::new(2 - deployment.key.get());
    }
    reordered.deployments.reverse();
    table.configure(reordered.clone());
    let spent_print = given.keys[spent].fingerprint;
    let used: Vec<Fingerprint> =
        table.start_keys(8).into_iter().map(|key| table.settings.keys[key.index()].fingerprint).collect();
    assert!(!used.contains(&spent_print), "the used-up key stays used up wherever it stands");
    // The key leaves with an attempt in flight, which is still settled.
    let mut fewer = reordered.clone();
    let gone = fewer.keys.iter().position(|key| key.fingerprint == spent_print).expect("it is there");
    fewer.deployments.retain(|deployment| deployment.key.index() != gone);
    table.configure(fewer);
    assert_eq!(table.answer(&flights[0], 200).the_verdict().outcome, Outcome::Answered);
    // And when it returns, its day is still used up.
    table.configure(reordered);
    let verdict = table.arrive(a_request()).the_verdict();
    assert_eq!(verdict.causes[0].cause, Cause::RateDay);
}

#[test]
fn requests_of_a_removed_model_end_and_the_rest_go_on() {
    let mut given = settings(&[("free", 1, rpm(1), 0)]);
    given.models.push(a_model("other", &[0]));
    let mut table = Table::new(given.clone());
    table.start();
    table.arrive(within(3000)).nothing();
    let other = Arrived { model: stormproof_router::core::ModelId::new(1), ..within(3000) };
    table.arrive(other).nothing();
    given.models.truncate(1);
    assert_eq!(table.configure(given).the_verdict().outcome, Outcome::Refused);
    table.pass(secs(60)).the_dispatch();
}

#[test]
fn equal_tiers_are_left_when_they_are_degraded() {
    let mut table = Table::new(settings(&[("one", 1, rpm(500), 0), ("two", 1, rpm(500), 0)]));
    let mut dispatch = table.start();
    for _ in 0..2 {
        assert_eq!(table.tier(&dispatch), "one");
        let next = table.answer(&dispatch, 503);
        dispatch = next.dispatched.first().copied().unwrap_or_else(|| table.pass(secs(1)).the_dispatch());
    }
    assert_eq!(table.tier(&dispatch), "two", "it costs no more and is well");
}

#[test]
fn what_could_start_is_not_left_for_what_would_come_too_late() {
    let mut table = Table::new(settings(&[("one", 1, rpm(500), 0), ("two", 1, rpm(500), 0)]));
    let mut dispatch = table.start();
    while table.tier(&dispatch) == "one" {
        let next = table.answer(&dispatch, 503);
        dispatch = next.dispatched.first().copied().unwrap_or_else(|| table.pass(secs(1)).the_dispatch());
    }
    let rest = Facts { retry_after: Some(secs(3)), ..Facts::default() };
    table.finish(&dispatch, Ending::Status(429), rest);
    assert!(matches!(table.start().why, Why::Probe { .. }));
    table.arrive(within(20)).nothing();
    let hurried = table.arrive(within(2)).the_dispatch();
    assert_eq!(table.tier(&hurried), "one", "the other is back a second after the deadline");
}

#[test]
fn a_crowd_is_not_served_one_by_one_when_it_is_too_late_for_each() {
    // A call a second, and no more.
    let mut table = Table::new(settings(&[("free", 60, rpm(1), 0)]));
    for _ in 0..60 {
        table.start();
        table.pass(secs(1));
    }
    let (mut started, mut refused) = (0, 0);
    for _ in 0..120 {
        // Twice as many ask.
        let mut decisions = table.arrive(within(20));
        decisions.add(table.arrive(within(20)));
        decisions.add(table.pass(secs(1)));
        for dispatch in decisions.dispatched {
            assert!(dispatch.timeouts.first_byte >= secs(14), "most of its time is left: {dispatch:?}");
            table.answer(&dispatch, 200);
            started += 1;
        }
        refused += decisions.closed.iter().filter(|(_, verdict)| verdict.outcome == Outcome::Refused).count();
    }
    assert!(started >= 115 && started + refused >= 230, "{started} started, {refused} refused");
}

#[test]
fn a_model_has_as_many_tiers_as_are_told_apart_and_no_more() {
    let names: Vec<String> = (0..33).map(|tier| format!("tier-{tier}")).collect();
    let given = |count: usize| settings(&names[..count].iter().map(|name| (&**name, 1, rpm(1), 0)).collect::<Vec<_>>());
    let mut table = Table::new(given(32));
    let first = table.start();
    assert_eq!(table.tier(&first), "tier-0");
    for name in &names[1..32] {
        let next = table.arrive(a_request()).the_dispatch();
        assert_eq!(table.tier(&next), name);
    }
    let refused = given(33).check().unwrap_err();
    let said: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["model `model` has 33 tiers: at most 32 are possible"]);
}

#[test]
fn strategies_and_orders_choose_within_a_tier() {
    let mut given = settings(&[("free", 3, rpm(500), 0)]);
    given.knobs.select_strategy = Strategy::RoundRobin;
    let mut table = Table::new(given.clone());
    let keys: Vec<u32> = table.start_keys(6).into_iter().map(|key| key.get()).collect();
    assert_eq!(keys, [0, 1, 2, 0, 1, 2]);
    given.knobs.select_strategy = Strategy::Headroom;
    given.deployments[0].order = 1;
    given.tiers[0].limits = rpm(2);
    let mut table = Table::new(given);
    let keys: Vec<u32> = table.start_keys(6).into_iter().map(|key| key.get()).collect();
    assert!(keys[..4].iter().all(|key| *key != 0) && keys[4..] == [0, 0], "the lower order first: {keys:?}");
}

#[test]
fn token_limits_are_reserved_by_estimate_and_settled_by_use() {
    let limits = Limits { tpm: Some(2500), ..Limits::default() };
    let mut table = Table::new(settings(&[("free", 1, limits, 0)]));
    let large = TokenEstimate { input: Tokens::new(2000), output_max: None };
    let first = table.arrive(Arrived { tokens: large, ..a_request() }).the_dispatch();
    table.arrive(a_request()).nothing();
    // The provider counted 1000: now there is room.
    let decisions = table.answer(&first, 200);
    assert_eq!(decisions.dispatched.len(), 1, "{decisions:?}");
}

#[test]
fn a_cancelled_request_is_abandoned_and_its_probe_slot_returned() {
    let mut table = Table::new(settings(&[("free", 1, rpm(500), 0)]));
    let dispatch = table.start();
    let decisions = table.hand_in(Input::Cancelled { request: dispatch.request });
    assert_eq!(decisions.abandoned, [dispatch.attempt]);
    assert_eq!((decisions.the_verdict().outcome, decisions.the_verdict().status), (Outcome::Cancelled, 0));
    table.hand_in(Input::Cancelled { request: dispatch.request }).nothing();
}

#[test]
fn timeouts_never_outlive_the_deadline_except_of_a_stream_that_runs() {
    let mut table = Table::new(settings(&[("free", 1, rpm(500), 0)]));
    let whole = table.arrive(within(20)).the_dispatch().timeouts;
    assert_eq!((whole.connect, whole.first_byte, whole.total), (secs(5), secs(20), secs(20)));
    let stream = table.arrive(Arrived { stream: true, ..within(20) }).the_dispatch().timeouts;
    assert_eq!((stream.first_byte, stream.total), (secs(20), secs(600)));
}

#[test]
fn a_snapshot_of_anything_else_is_refused() {
    let error = Router::restore(b"not a snapshot").expect_err("it is not one");
    assert!(error.to_string().starts_with("not a snapshot of stormproof/3: "), "{error}");
    let other = postcard::to_stdvec(&("stormproof/1", Router::new())).expect("it serializes");
    let error = Router::restore(&other).expect_err("another policy");
    assert_eq!(error.to_string(), "not a snapshot of stormproof/3: it is one of stormproof/1");
}

#[test]
fn nothing_is_started_without_settings_or_after_the_deadline() {
    let mut router = Router::new();
    router.handle(Timestamp::ZERO, Input::Arrived(Arrived { request: RequestId::new(1), ..a_request() }));
    let output = router.poll_output();
    assert!(matches!(output, Some(stormproof_router::core::Output::Close { .. })), "{output:?}");
    let mut table = Table::new(settings(&[("free", 1, rpm(500), 0)]));
    table.pass(Duration::from_secs(5));
    assert_eq!(table.arrive(within(0)).the_verdict().outcome, Outcome::Deadline);
}
