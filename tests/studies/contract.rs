//! What programs rely on: field names, files, formats, exit codes.

use serde_json::Value;

use crate::{document, files, read, stormproof, succeeds, text};

/// The fields of one router's numbers.
const RUN: [&str; 20] = [
    "policy",
    "turns",
    "succeeded",
    "success_rate",
    "success_rate_ci95",
    "client_calls",
    "latency_ms",
    "longest_gap_s",
    "recovery_s",
    "fallback_answers",
    "fallback_spend_usd",
    "fallback_spend_usd_ci95",
    "total_spend_usd",
    "upstream_attempts",
    "attempts_per_turn",
    "upstream_statuses",
    "client_statuses",
    "failures",
    "decision_hash",
    "per_seed",
];

fn has(value: &Value, fields: &[&str], of: &str) {
    for field in fields {
        assert!(value.get(field).is_some(), "{of} has no `{field}`");
    }
}

#[test]
fn the_summary_keeps_its_field_names() {
    let printed = succeeds(&["simulate", "quiet-pool", "--seeds", "2", "--format", "json"]);
    let summary = document(&printed);
    has(&summary, &["scenario", "seeds", "assumed", "runs", "pass"], "the summary");
    assert_eq!((&summary["scenario"], &summary["seeds"]), (&"quiet-pool".into(), &2.into()));
    let runs = summary["runs"].as_array().expect("routers");
    let policies: Vec<&str> = runs.iter().filter_map(|run| run["policy"].as_str()).collect();
    assert_eq!(policies, ["litellm-1.66", "litellm-1.109", "stormproof"]);
    for run in runs {
        has(run, &RUN, "a run");
        has(&run["latency_ms"], &["p50", "p90", "p99", "p99.9", "max"], "latency_ms");
        has(&run["upstream_statuses"], &["200"], "upstream_statuses");
        has(&run["failures"], &["deadline", "refused"], "failures");
        assert_eq!(run["success_rate_ci95"].as_array().map(Vec::len), Some(2));
        let seeds = run["per_seed"].as_array().expect("one entry a seed");
        assert_eq!(seeds.iter().map(|seed| seed["seed"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
        let mean = |field: &str| seeds.iter().filter_map(|seed| seed[field].as_f64()).sum::<f64>() / 2.0;
        for field in ["turns", "success_rate", "fallback_spend_usd", "longest_gap_s", "recovery_s"] {
            let (all, of_seeds) = (run[field].as_f64().expect("a number"), mean(field));
            assert!((all - of_seeds).abs() < 1e-9, "{field} is the mean over seeds: {all} and {of_seeds}");
        }
    }
    for result in summary["pass"].as_array().expect("expressions") {
        has(result, &["expression", "passed"], "a result");
    }
}

#[test]
fn the_demo_tells_the_incident_and_writes_its_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let printed = succeeds(&["demo", "--out", out.to_str().expect("UTF-8")]);
    for word in ["litellm-1.66", "litellm-1.109", "stormproof", "Answered in", "Assumed:", "report.html"] {
        assert!(printed.contains(word), "the table says {word}:\n{printed}");
    }
    let pictures = ["key-lanes.svg", "latency.svg", "storm-strip.svg", "success-spend.svg"];
    let mut expected = vec!["report.html", "summary.json", "trace.json"];
    expected.extend(pictures);
    expected.sort_unstable();
    assert_eq!(files(&out), expected);
    let page = read(&out.join("report.html"));
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "the page needs nothing from elsewhere");
    for picture in pictures {
        let drawn = read(&out.join(picture));
        assert!(drawn.contains("Assumed: clients"), "{picture} says what is assumed");
        assert!(drawn.contains("prefers-color-scheme:dark"), "{picture} has a dark side");
    }
    assert!(read(&out.join("storm-strip.svg")).contains(">22:30<"), "the axis shows the time of day");
    document(&read(&out.join("summary.json")));
}

/// The same numbers wherever they go, and nothing else on standard output.
#[test]
fn json_is_all_there_is_on_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("UTF-8");
    let arguments = ["simulate", "expected-rotation", "--seeds", "2", "--format", "json"];
    let printed = document(&succeeds(&arguments));
    let with_files = document(&succeeds(&[&arguments[..], &["--out", out]].concat()));
    assert_eq!(printed, with_files);
    assert_eq!(printed, document(&read(&folder.path().join("summary.json"))));
    let axis = ["sweep", "quiet-pool", "--seeds", "1", "--vary", "cooldown_time=5,60", "--format", "json"];
    let sweep = document(&succeeds(&[&axis[..], &["--out", out]].concat()));
    assert_eq!(sweep["axes"][0]["knob"], "cooldown_time");
    assert_eq!(sweep["axes"][0]["unit"], "s");
    assert_eq!(sweep["points"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_does_not_hold_is_exit_code_99_and_a_junit_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let junit = folder.path().join("junit.xml");
    let scenario = folder.path().join("strict.yaml");
    let strict = read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/quiet-pool.yaml"));
    let strict = format!("{strict}  - \"litellm-1.66: turns > 1000000\"\n");
    std::fs::write(&scenario, strict).expect("written");
    let (scenario, junit_path) = (scenario.to_str().expect("UTF-8"), junit.to_str().expect("UTF-8"));
    let output = stormproof(&["simulate", scenario, "--seeds", "2", "--junit", junit_path]);
    assert_eq!(output.status.code(), Some(99), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("litellm-1.66: turns > 1000000"));
    let written = read(&junit);
    assert!(written.contains("tests=\"4\" skipped=\"0\" failures=\"1\""), "{written}");
    assert!(written.contains("name=\"litellm-1.66: turns &gt; 1000000\""), "{written}");

    succeeds(&["simulate", "quiet-pool", "--seeds", "2", "--junit", junit_path]);
    assert!(read(&junit).contains("tests=\"3\" skipped=\"0\" failures=\"0\""));
    let narrowed = ["simulate", scenario, "--seeds", "2", "--policy", "stormproof"];
    succeeds(&narrowed);
}

#[test]
fn a_sweep_writes_lines_for_one_setting_and_a_map_for_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = |name: &str| folder.path().join(name);
    let run = |name: &str, more: &[&str]| {
        let out = out(name);
        let common = ["sweep", "family-i", "--seeds", "2", "--set", "duration=20m", "--policy", "litellm-1.66"];
        succeeds(
            &[&common[..], more, &["--vary", "cooldown_time=5,2000", "--out", out.to_str().expect("UTF-8")]].concat(),
        )
    };
    let printed = run("one", &[]);
    assert!(printed.contains("By cooldown_time:"), "{printed}");
    assert_eq!(files(&out("one")), ["report.html", "sweep.csv", "sweep.json", "sweep.svg"]);
    let csv = read(&out("one").join("sweep.csv"));
    let mut lines = csv.lines();
    assert!(
        lines.next().is_some_and(|head| head.starts_with("cooldown_time,policy,seeds,turns,succeeded,success_rate,"))
    );
    assert_eq!(lines.map(|line| line.split(',').next().unwrap_or_default()).collect::<Vec<_>>(), ["5", "2000"]);
    run("two", &["--vary", "num_retries=0,2"]);
    assert_eq!(files(&out("two")), ["heat-spend.svg", "heat-success.svg", "report.html", "sweep.csv", "sweep.json"]);
}

#[test]
fn the_files_of_the_repository_have_no_mistakes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let names = files(&folder);
    for name in names.iter().filter(|name| name.ends_with(".yaml")) {
        let path = format!("scenarios/{name}");
        let said = succeeds(&["check", &path, "--without-secrets"]);
        assert!(said.starts_with(&format!("{path}: a ")) && said.contains("without mistakes"), "{said}");
    }
    for (kind, file) in [("scenario", "scenario.schema.json"), ("configuration", "stormproof.schema.json")] {
        let is_new = document(&succeeds(&["check", "--schema", kind])) == document(&read(&folder.join(file)));
        assert!(is_new, "`stormproof check --schema {kind} > scenarios/{file}` renews it");
    }
}

#[test]
fn an_imported_log_is_a_scenario() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("logged.yaml");
    let path = path.to_str().expect("UTF-8");
    let log = "simulator/tests/import/outage.txt";
    let arguments = ["import", "litellm-log", log, "--pool", "gemini-2.5-pro=21"];
    let printed = succeeds(&arguments);
    assert_eq!(succeeds(&[&arguments[..], &["--out", path]].concat()), "");
    assert_eq!(read(std::path::Path::new(path)), printed);
    assert!(succeeds(&["check", path]).contains("a scenario without mistakes; it compares litellm-1.66,"));
}
