//! `stormproof replay --policy` and `--to-scenario`, as a user meets them: a day is recorded, asked, and written as a
//! scenario that every other command takes.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

fn stormproof(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("stormproof").expect("the program");
    command.args(arguments).output().expect("it ran")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fine(arguments: &[&str]) -> String {
    let output = stormproof(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Half an hour of a family on record under one of its routers.
fn recorded(folder: &Path, router: &str) -> PathBuf {
    let logs = folder.join("logs");
    let shown = logs.display().to_string();
    let day = ["simulate", "family-i", "--set", "duration=30m", "--seeds", "1", "--record", &shown, "--policy", router];
    // What the family says must pass need not on half a day.
    let output = stormproof(&day);
    assert!(matches!(output.status.code(), Some(0 | 99)), "{}", text(&output.stderr));
    logs.join(format!("{router}-1"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_day_is_asked_about_other_knobs_and_other_routers() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = recorded(folder.path(), "stormproof");
    let log = log.to_str().expect("a path");
    let said = fine(&["replay", log, "--set", "retry.max_attempts=2", "--seeds", "5"]);
    for part in [
        "on record",
        "retry.max_attempts=2",
        "by the",
        "as recorded",
        "where the log saw nothing",
        "Calibration",
        "Assumed:",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let asked = ["replay", log, "--policy", "family-i", "--only", "litellm-1.109-5s", "--only", "stormproof"];
    let found = json(&fine(&[&asked[..], &["--seeds", "4", "--format", "json"]].concat()));
    assert_eq!(found["answers"][0]["policy"], "litellm-1.109-5s");
    let ours = &found["answers"][1];
    assert_eq!(ours["policy"], "stormproof");
    assert!(ours["reused_share"].as_f64().is_some_and(|share| share > 0.8), "{ours}");
    let (recorded, said) = (&found["recorded"]["success_rate"], &ours["estimates"]["success_rate"]["mean"]);
    let apart = recorded.as_f64().unwrap_or(9.0) - said.as_f64().unwrap_or(0.0);
    assert!(apart.abs() < 0.01, "{recorded} and {said}");
    for part in ["calibration", "dark", "assumed"] {
        assert!(!found[part].is_null(), "{part} in {found}");
    }
}

#[test]
fn a_configuration_can_be_asked_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = recorded(folder.path(), "litellm-1.66");
    let file = folder.path().join("stormproof.yaml");
    let config = "providers: {gemini: {dialect: gemini}}\n\
                  keys:\n  free: {provider: gemini, expect: 21, projects: separate}\n  \
                  paid: {provider: gemini, expect: 2, projects: separate}\n\
                  tiers:\n  free: {keys: free, upstream: cheap, limits: {rpm: 5}, price: free}\n  \
                  paid: {keys: paid, upstream: dear, limits: {rpm: 150}, price: 10 USD/answer}\n\
                  models:\n  model: {tiers: [free, paid]}\n";
    std::fs::write(&file, config).expect("written");
    let arguments = ["replay", log.to_str().expect("a path"), "--policy", file.to_str().expect("a path")];
    let found = json(&fine(&[&arguments[..], &["--seeds", "3", "--format", "json"]].concat()));
    let said = found["answers"][0]["estimates"]["success_rate"]["mean"].as_f64().expect("a number");
    assert!(said > 0.95, "our router answers: {said}");
    assert!(found["dark"][0]["share"].as_f64().is_some_and(|share| share > 0.2), "{}", found["dark"]);

    std::fs::write(&file, config.replace("model: {tiers", "other: {tiers")).expect("written");
    let output = stormproof(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("asked for `model`, which `stormproof` does not have"), "{output:?}");
}

#[test]
fn a_recorded_day_is_a_scenario_for_every_other_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = recorded(folder.path(), "litellm-1.109-60s");
    let file = folder.path().join("day.yaml");
    let file = file.to_str().expect("a path");
    fine(&["replay", log.to_str().expect("a path"), "--to-scenario", file]);
    assert!(fine(&["check", file]).contains("a scenario without mistakes; it compares litellm-1.109, stormproof"));
    let summary = json(&fine(&["simulate", file, "--seeds", "2", "--format", "json"]));
    assert!(summary["runs"][1]["success_rate"].as_f64().is_some_and(|rate| rate > 0.95), "{summary}");
    assert!(summary["assumed"].as_array().is_some_and(|assumed| assumed.len() > 3), "{summary}");
    fine(&["sweep", file, "--vary", "cooldown_time=5,60", "--policy", "litellm-1.109", "--seeds", "1"]);
}

#[test]
fn wrong_questions_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = recorded(folder.path(), "litellm-1.66-5s");
    let log = log.to_str().expect("a path");
    for (arguments, said) in [
        (vec!["replay", log, "--set", "trip.ratio=0.3"], "the log is LiteLLM's"),
        (vec!["replay", log, "--policy", "family-i", "--only", "nobody"], "family-i compares litellm-1.66,"),
        (vec!["replay", log, "--policy", "no-such-file.yaml"], "no-such-file.yaml: the file cannot be read"),
        (vec!["replay", log, "--policy", "family-i", "--set", "seeds"], "write a setting and its value"),
        (vec!["replay", log, "--policy", "family-i", "--from", "10m"], "cannot be used with"),
    ] {
        let output = stormproof(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
}
