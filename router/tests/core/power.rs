//! After a power loss: what may have been spent without a record counts as used, and no more.

use stormproof_router::core::{
    Action, AtRisk, Duration, Input, Limited, Limits, Note, Route, Router, Stake, TierId, Timestamp, TokenPrice,
    Transport, Usd,
};

use crate::given::{Table, a_client, a_request, rpd, rpm, secs, settings};

const TWENTIETH: AtRisk = AtRisk::from_ppm(50_000);

fn dollars(dollars: i64) -> Usd {
    Usd::from_micros(dollars * 1_000_000)
}

fn lose_power(table: &mut Table) {
    let since = table.now - secs(1);
    table.act(Action::PowerLost { at_risk: TWENTIETH, since });
}

fn left(table: &Table) -> Option<u64> {
    table.router.tiers()[0].left_today
}

/// What an attempt puts at stake, without what is unlimited.
fn stakes(table: &Table, attempt: stormproof_router::core::AttemptId) -> Vec<Stake> {
    table.router.stake(attempt, TWENTIETH).into_iter().flatten().collect()
}

#[test]
fn a_share_of_every_day_quota_is_taken_and_one_request_at_least() {
    for (limit, taken) in [(1, 1), (25, 1), (40, 2), (1000, 50)] {
        let mut table = Table::new(settings(&[("free", 3, rpd(limit), 0)]));
        lose_power(&mut table);
        assert_eq!(left(&table), Some(u64::from(3 * (limit - taken))));
        let loss = table.router.power_lost().expect("it is remembered");
        assert_eq!((loss.requests, loss.requests_each, loss.money), (3 * taken, taken, Usd::ZERO));
        assert!(table.notes.contains(&Note::PowerLost { loss }), "and told");
    }
}

#[test]
fn the_stricter_limit_bounds_what_may_be_lost_and_the_day_has_no_more_than_it_had() {
    let limits = Limits { rpm: Some(60), rpd: Some(1000), ..Limits::default() };
    let mut table = Table::new(settings(&[("free", 1, limits, 0)]));
    let dispatch = table.start();
    let limited = |stake: &Stake| matches!(stake.limited, Limited::Requests(_));
    let stake = *stakes(&table, dispatch.attempt).iter().find(|stake| limited(stake)).expect("it is limited");
    assert_eq!((stake.amount, stake.most), (1, 3), "what may be at stake is what will be charged");
    lose_power(&mut table);
    assert_eq!(left(&table), Some(1000 - 1 - 3));
    for _ in 0..3 {
        table.pass(secs(1));
        lose_power(&mut table);
    }
    assert_eq!(left(&table), Some(1000 - 1 - 4 * 3), "every loss counts");
    let project = table.settings.keys[0].project;
    table.act(Action::SetUsed { project, upstream: table.settings.tiers[0].upstream, requests: 998 });
    lose_power(&mut table);
    assert_eq!((left(&table), table.router.power_lost().map(|loss| loss.requests)), (Some(0), Some(2)));
}

#[test]
fn the_minute_is_charged_too_and_free_again_after_it() {
    let limits = Limits { rpm: Some(2), tpm: Some(30_000), ..Limits::default() };
    let mut table = Table::new(settings(&[("free", 1, limits, 0)]));
    lose_power(&mut table);
    let first = table.start();
    let tokens = stakes(&table, first.attempt)
        .iter()
        .any(|stake| matches!(stake.limited, Limited::Tokens(_)) && (stake.amount, stake.most) == (1000, 1500));
    assert!(tokens);
    table.arrive(a_request()).nothing();
    assert_eq!(table.pass(secs(60)).dispatched.len(), 1, "the lost minute is over");
}

#[test]
fn budgets_of_tiers_and_clients_are_charged_within_what_is_left() {
    let mut given = settings(&[("paid", 1, rpm(500), 1)]);
    given.tiers[0].budget = Some(dollars(100));
    given.clients.push(stormproof_router::core::Client { budget: Some(dollars(20)), ..a_client("ada") });
    let mut table = Table::new(given);
    lose_power(&mut table);
    let spent = |table: &Table| (table.router.tiers()[0].spent, table.router.clients()[1].spent);
    assert_eq!(spent(&table), (dollars(5), dollars(1)));
    assert_eq!(table.router.tiers()[0].assumed, dollars(5), "nobody has confirmed it");
    assert_eq!(table.router.power_lost().map(|loss| loss.money), Some(dollars(5)));

    table.act(Action::SetBudget { tier: TierId::new(0), budget: dollars(7) });
    let dispatch = table.start();
    let money = stakes(&table, dispatch.attempt);
    let most: Vec<u64> = money.iter().map(|stake| stake.most).filter(|most| *most != 25).collect();
    assert_eq!(most, [350_000], "a twentieth of what is allowed now; the anonymous client has no budget");
    // In flight with a dollar set aside: one is left.
    table.act(Action::PowerLost { at_risk: AtRisk::from_ppm(1_000_000), since: table.now });
    assert_eq!(table.router.tiers()[0].spent, dollars(6), "a whole budget, but only one dollar of it is left");
    // Its answer may have come whole before the power failed.
    table.break_off(&dispatch, Transport::Abandoned);
    assert_eq!((table.router.tiers()[0].spent, table.router.tiers()[0].reserved), (dollars(7), Usd::ZERO));
}

#[test]
fn what_has_no_limit_is_not_charged_and_puts_nothing_at_stake() {
    let mut given = settings(&[("paid", 1, Limits::default(), 0)]);
    given.tiers[0].price.tokens = TokenPrice { input: dollars(1), ..TokenPrice::default() };
    let mut table = Table::new(given);
    let dispatch = table.start();
    assert_eq!(stakes(&table, dispatch.attempt), []);
    lose_power(&mut table);
    assert_eq!(table.router.power_lost().map(|loss| (loss.requests, loss.money)), Some((0, Usd::ZERO)));
    assert_eq!(table.router.tiers()[0].spent, Usd::ZERO);
}

#[test]
fn the_charge_ends_with_its_day_and_survives_a_restart() {
    let mut table = Table::new(settings(&[("free", 1, rpd(40), 0)]));
    lose_power(&mut table);
    let restored = Router::restore(&table.router.snapshot()).expect("our own");
    assert_eq!(restored.power_lost(), table.router.power_lost());
    assert!(restored.power_lost().is_some_and(|loss| loss.at == Timestamp::ZERO));
    table.pass(Duration::from_secs(3600));
    assert_eq!((table.router.power_lost(), left(&table)), (None, Some(40)));
    table.hand_in(Input::Woke).nothing();
}
