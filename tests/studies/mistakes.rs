//! Mistakes of users: exit code 2 with a message that says what to do, or 1 where the input was right.

use std::path::Path;

use crate::{files, read, stormproof, succeeds, text};

/// The exit code, and what stands on standard error; nothing may stand on standard output.
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let output = stormproof(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    (output.status.code(), text(&output.stderr).trim_end().to_owned())
}

#[test]
fn bad_usage_says_what_would_do() {
    let cases: [(&[&str], &str); 10] = [
        (
            &["simulate", "expected-rotation", "--policy", "litelm"],
            "error: --policy litelm: the scenario compares litellm-1.66, litellm-1.109, stormproof; name one of them",
        ),
        (
            &["simulate", "no/such/file.yaml"],
            "no/such/file.yaml: the file cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["sweep", "nothing.yaml", "--vary", "seeds=1,2"],
            "nothing.yaml: the file cannot be read: No such file or directory (os error 2)",
        ),
        (&["check", "nothing.yaml"], "nothing.yaml: the file cannot be read: No such file or directory (os error 2)"),
        (
            &["import", "litellm-log", "nothing.txt"],
            "nothing.txt: the file cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["simulate", "quiet-pool", "--set", "seeds"],
            "error: --set seeds: write a setting and its value, as in `seeds=5`",
        ),
        (
            &["simulate", "quiet-pool", "--set", "trip.ratio=x"],
            "quiet-pool.yaml: `trip.ratio` cannot be `x`: expected a number or a percentage, such as `0.15` or `15%`",
        ),
        (
            &["sweep", "quiet-pool", "--vary", "trip.ratio"],
            "--vary trip.ratio: write a setting and its values, as in `cooldown_time=0.5,5,60,2000`",
        ),
        (
            &["sweep", "quiet-pool", "--vary", "a=1", "--vary", "b=1", "--vary", "c=1"],
            "error: --vary: one or two settings can be varied at once; run it again for the others",
        ),
        (
            &["import", "litellm-log", "LICENSE-MIT"],
            "LICENSE-MIT: no refusal of a LiteLLM proxy in these LINES lines: nowhere is there \"No deployments available for \
             selected model\"; give the proxy's log or a client's output, as it was",
        ),
    ];
    let lines = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("LICENSE-MIT")).lines().count();
    for (arguments, message) in cases {
        let message = message.replace("LINES", &lines.to_string());
        assert_eq!(fails(arguments), (Some(2), message), "{arguments:?}");
    }
}

#[test]
fn an_unknown_scenario_names_those_that_are_built_in() {
    let (code, said) = fails(&["simulate", "expected-rotatoin"]);
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("error: there is neither a file nor a built-in scenario `expected-rotatoin`; built in are")
    );
    assert!(said.contains("expected-rotation, gain,") && !said.contains(", stormproof"), "{said}");
}

#[test]
fn what_the_parser_of_arguments_refuses_is_bad_usage_too() {
    for arguments in [
        &["simulate"][..],
        &["simulate", "quiet-pool", "--seeds", "0"],
        &["sweep", "quiet-pool"],
        &["import", "litellm-log", "x", "--pool", "gemini"],
        &["simulate", "quiet-pool", "--format", "xml"],
        &["no-such-command"],
        &[],
    ] {
        assert_eq!(fails(arguments).0, Some(2), "{arguments:?}");
    }
    assert!(succeeds(&["--help"]).contains("Exit codes: 0 fine; 1 it failed while running; 2 bad usage"));
}

#[test]
fn every_bad_scenario_is_told_all_its_mistakes_at_their_places() {
    const EXPECTED: &str = "# expected: ";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/scenario");
    for name in files(&folder).iter().filter(|name| name.ends_with(".yaml")) {
        let path = format!("tests/bad/scenario/{name}");
        let expected = read(&folder.join(name));
        let (code, said) = fails(&["check", &path]);
        assert_eq!(code, Some(2), "{name}");
        for line in expected.lines().filter_map(|line| line.strip_prefix(EXPECTED)) {
            assert!(said.contains(line), "{name} should be told\n  {line}\nbut is told\n{said}");
        }
        assert_eq!(fails(&["simulate", &path]).0, Some(2), "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_a_failure_while_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    let out = file.join("out");
    let output = stormproof(&["simulate", "quiet-pool", "--seeds", "1", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with(&format!("error: cannot write {}", out.display())), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "the reason is told once: {said}");
}
