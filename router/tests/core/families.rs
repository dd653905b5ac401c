//! The scenario families on the plain simulator: what the policy reaches, against what a prototype of it reached.
//!
//! `SEEDS=200 FAMILIES=ac cargo test -p stormproof-router --test core families -- --nocapture` looks closer.

use super::plain::{self, family, settings, simulate};

/// What one family came to, as means over seeds.
struct Found {
    success_percent: f64,
    spend_usd: f64,
    /// 95 % half-width.
    spend_half_width: f64,
    attempts_per_request: f64,
    own_429s: u32,
    delay_p99_s: f64,
}

fn run(letter: char, seeds: u64) -> Found {
    let conditions = family(letter);
    let days: Vec<_> = (1..=seeds).map(|seed| simulate(&conditions, settings(&conditions), seed)).collect();
    let mean = |of: &dyn Fn(&plain::Day) -> f64| days.iter().map(of).sum::<f64>() / seeds as f64;
    let spend_usd = mean(&|day| day.spend_usd);
    let variance = mean(&|day| (day.spend_usd - spend_usd) * (day.spend_usd - spend_usd));
    let mut delays: Vec<f64> = days.iter().flat_map(|day| day.delays.iter().copied()).collect();
    delays.sort_by(f64::total_cmp);
    Found {
        success_percent: 100.0 * mean(&|day| f64::from(day.answered) / f64::from(day.requests)),
        spend_usd,
        spend_half_width: 1.96 * libm::sqrt(variance / (seeds as f64 - 1.0)),
        attempts_per_request: mean(&|day| f64::from(day.attempts) / f64::from(day.requests)),
        own_429s: days.iter().map(|day| day.statuses.get(&429).copied().unwrap_or(0)).sum(),
        delay_p99_s: delays[delays.len() * 99 / 100],
    }
}

/// Success and spend of the prototype over 1000 seeds. Few seeds scatter: success may miss it by 0.03 points, the
/// interval of the spend has to reach below 1.05 of it, and attempts, at most 2 in the mean of many seeds, may come to
/// 2.1 on these stormy ones.
#[test]
#[expect(clippy::print_stderr, reason = "the figures are what one runs this for by hand")]
fn every_family_reaches_the_prototype_without_a_429_of_our_own() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    let wanted = std::env::var("FAMILIES").unwrap_or_default();
    let prototype = [
        ('a', 4193.0),
        ('b', 17_364.0),
        ('c', 14_300.0),
        ('e', 25_846.0),
        ('g', 14_216.0),
        ('i', 2970.0),
        ('j', 7582.0),
    ];
    for (letter, spend) in prototype.into_iter().filter(|(letter, _)| wanted.is_empty() || wanted.contains(*letter)) {
        let found = run(letter, seeds);
        eprintln!(
            "{letter}: success {:.3} % spend {:.0} +-{:.0} USD, {:.3} attempts, {} 429s, p99 of the delay {:.1} s",
            found.success_percent,
            found.spend_usd,
            found.spend_half_width,
            found.attempts_per_request,
            found.own_429s,
            found.delay_p99_s
        );
        assert!(found.success_percent >= 99.96, "family {letter}: {} % answered", found.success_percent);
        assert!(found.spend_usd - found.spend_half_width < 1.05 * spend, "family {letter}: {} USD", found.spend_usd);
        assert!(found.attempts_per_request <= 2.1, "family {letter}: {} attempts", found.attempts_per_request);
        assert_eq!(found.own_429s, 0, "family {letter}");
    }
}
