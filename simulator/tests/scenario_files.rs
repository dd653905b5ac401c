//! The scenarios of the repository: they mean what the days built in code mean, they hold what they say must hold, and
//! no text makes their reader panic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use stormproof_router::config::{Config, MemoryEnvironment, moment};
use stormproof_router::core::{Settings, Timestamp};
use stormproof_simulator::scenario::{BUILT_IN, Embedded, Expression, Scenario, built_in, parse};
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::study::{Contender, Policy, compare};

fn scenario(name: &str) -> Scenario {
    let document = built_in(name).expect("built in").unwrap_or_else(|errors| panic!("{errors}"));
    document.scenario().unwrap_or_else(|errors| panic!("{errors}"))
}

fn ours(scenario: &Scenario) -> &Settings {
    let settings = scenario.contenders.iter().find_map(|Contender { name, policy }| match policy {
        Policy::Stormproof(settings) if name == "stormproof" => Some(settings),
        Policy::Stormproof(_) | Policy::LiteLlm { .. } => None,
    });
    settings.expect("every scenario has our router under its name")
}

/// The families exist twice: as files, and in code for tests and benchmarks. They are the same days.
#[test]
fn the_family_files_are_the_families() {
    for family in FAMILIES {
        let file = scenario(&format!("family-{}", family.name));
        let (day, built) = (&file.case.day, family.case().day);
        let name = family.name;
        assert_eq!(day.clients, built.clients, "{name}");
        assert_eq!(day.duration, built.duration, "{name}");
        assert_eq!(day.world.resets.first(), built.world.resets.first(), "{name}");
        assert_eq!(day.world.projects, built.world.projects, "{name}");
        assert_eq!(day.world.keys, built.world.keys, "{name}");
        assert_eq!(day.world.upstreams, built.world.upstreams, "{name}");
        let (settings, known) = (ours(&file), family.case().settings);
        assert_eq!(settings.knobs, known.knobs, "{name}");
        for (tier, known) in settings.tiers.iter().zip(&known.tiers) {
            assert_eq!((tier.limits, tier.price), (known.limits, known.price), "{name}");
        }
    }
}

/// Every built-in scenario but the families, on a few seeds, holds what it says must hold. (The families' numbers are
/// means over many seeds.)
#[test]
fn scenarios_hold_what_they_say() {
    let names = BUILT_IN.iter().map(|(file, _)| file.trim_end_matches(".yaml"));
    for name in names.filter(|name| *name != "stormproof" && !name.starts_with("family-")) {
        let Scenario { case, contenders, pass, .. } = scenario(name);
        let summary = compare(&case, &contenders, 8, &|| ()).unwrap_or_else(|error| panic!("{error}"));
        let failed: Vec<_> = pass.iter().map(|one| one.evaluate(&summary)).filter(|result| !result.passed).collect();
        assert!(failed.is_empty(), "{name}: {failed:?}");
    }
}

/// What every scenario assumes stands in its summary, and its first seed starts where the file says.
#[test]
fn what_is_assumed_is_told() {
    let Scenario { case, .. } = scenario("expected-rotation");
    assert!(case.assumed.iter().all(|sentence| sentence.contains(": ")), "{:?}", case.assumed);
    assert_eq!(case.day.happenings.first().map(|(at, _)| *at), Some(Timestamp::ZERO));
}

fn read_both(text: &str) {
    let (now, _) = moment("2025-04-18 22:10 America/Los_Angeles").expect("a moment");
    let environment = MemoryEnvironment { variables: BTreeMap::new(), files: BTreeMap::new() };
    if let Ok(config) = Config::parse(text, "t.yaml") {
        // Whether it resolves is not the question here, only that it answers.
        drop(config.resolve(&environment, b"", now));
        drop(config.rehearse(now));
    }
    drop(parse(text, "t.yaml", Embedded(BUILT_IN)));
}

/// A file of the repository with one thing wrong: a piece cut out, doubled, or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        " ",
        "\n",
        ":",
        "{",
        "}",
        "[",
        "]",
        "-",
        "&a ",
        "*a",
        "<<: ",
        "~",
        "null",
        "0",
        "-1",
        "1e400",
        "NaN",
        ".inf",
        "9999999999999999999999",
        "4294967296",
        "2554-01-01 00:00 UTC",
        "0001-01-01 00:00 UTC",
        "584942417355y",
        "\"",
        "'",
        "#",
        "!!binary ",
        "\u{feff}",
        "\u{0}",
        "\u{1F300}",
        "100000h",
        "99999999999d",
        "none",
        "stormproof:",
        "* ",
        "%",
    ]);
    (0..BUILT_IN.len(), any::<prop::sample::Index>(), 0usize..40, pieces).prop_map(|(file, at, cut, piece)| {
        let chars: Vec<char> = BUILT_IN[file].1.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        let (before, after): (String, String) = (chars[..at].iter().collect(), chars[end..].iter().collect());
        before + piece + &after
    })
}

/// The same cases every time: a finding is a regression of its change, and not a lottery.
fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(20_250_419), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(fixed(600))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}|[a-z:{}\\[\\], \n&*!#'\"0-9-]{0,300}") {
        read_both(&text);
    }

    #[test]
    fn mutated_files_never_panic(text in mutated()) {
        read_both(&text);
    }

    #[test]
    fn arbitrary_expressions_never_panic(text in "(stormproof|litellm-1.66)?:? ?[a-z_.]{0,16} ?[<>=]{0,3} ?\\PC{0,20}") {
        drop(Expression::parse(&text, &["stormproof", "litellm-1.66"]));
    }
}
