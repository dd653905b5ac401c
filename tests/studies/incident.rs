//! The logged outage from the command line: what the log proves happens when it was logged.

use serde_json::Value;

use crate::{document, read, succeeds};

/// Seconds after 05:10, when the scenario starts.
fn at(minutes: u32, seconds: f64) -> f64 {
    f64::from(minutes - 10) * 60.0 + seconds
}

/// The day of the scenario under the logged proxy, as `--out` describes it.
fn day() -> (Value, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("UTF-8");
    succeeds(&["simulate", "scenarios/logged-outage.yaml", "--policy", "litellm-1.66", "--seeds", "1", "--out", out]);
    let [trace, summary] = ["trace.json", "summary.json"].map(|name| document(&read(&folder.path().join(name))));
    (trace["policies"][0].clone(), summary)
}

/// What became of one key.
struct Lane {
    /// When a call ended, and how.
    attempts: Vec<(f64, String)>,
    /// From when to when it was not used.
    cooldowns: Vec<(f64, f64)>,
}

/// The lane of that key.
fn lane(policy: &Value, key: &str) -> Lane {
    let lanes = policy["lanes"].as_array().expect("lanes");
    let lane = lanes.iter().find(|lane| lane["key"] == key).unwrap_or_else(|| panic!("no key {key}"));
    let number = |value: &Value, field: &str| value[field].as_f64().expect("a number");
    let list = |field: &str| lane[field].as_array().cloned().unwrap_or_default();
    let status = |attempt: &Value| attempt["status"].as_str().unwrap_or_default().to_owned();
    Lane {
        attempts: list("attempts").iter().map(|one| (number(one, "to_s"), status(one))).collect(),
        cooldowns: list("cooldowns").iter().map(|one| (number(one, "from_s"), number(one, "to_s"))).collect(),
    }
}

#[test]
fn the_outage_happens_as_logged() {
    let (policy, summary) = day();
    let benched: Vec<(&str, f64, f64)> = vec![
        ("mistral-01", at(14, 43.773_912_4), at(48, 3.773_912_4)),
        ("gemini-2.5-pro-preview-01", at(20, 57.644_344_3), at(54, 17.644_344_3)),
        ("gemini-2.5-pro-preview-02", at(21, 1.228_798_4), at(54, 21.228_798_4)),
    ];
    for (key, failed, until) in benched {
        let Lane { attempts, cooldowns } = lane(&policy, key);
        let status = if key == "mistral-01" { "429" } else { "503" };
        let failure = attempts.iter().rfind(|(end, _)| *end < until).expect("it was called");
        assert_eq!(failure.1, status, "{key}");
        assert!((failure.0 - failed).abs() < 1.0, "{key} failed at {} s, not at {failed} s", failure.0);
        let [(from, to)] = cooldowns.as_slice() else { panic!("{key} is benched once: {cooldowns:?}") };
        assert!((from - failed).abs() < 1.0 && (to - until).abs() < 1.0, "{key}: {from} to {to}");
        assert!((to - from - 2000.0).abs() < 0.001, "{key}");
    }
    // The wall: nobody gets anything from the second failure to the end of the first cooldown.
    let statuses = &summary["runs"][0]["upstream_statuses"];
    assert_eq!((statuses["503"].as_f64(), statuses["429"].as_f64()), (Some(2.0), Some(3.0)), "{statuses}");
    let refused = &summary["runs"][0]["client_statuses"]["429"];
    assert!(refused.as_f64().is_some_and(|count| count > 200.0), "calls that ran against the wall: {refused}");
    let free = policy["lanes"].as_array().expect("lanes").iter().filter(|lane| lane["tier"] == "gemini-2.5-pro");
    let idle =
        |lane: &Value| lane["attempts"] == Value::Array(Vec::new()) && lane["cooldowns"] == Value::Array(Vec::new());
    assert_eq!(free.filter(|lane| idle(lane)).count(), 21, "none of the 21 keys is asked, and none is cooling");
}
