//! The log's commands as a user meets them: recorded by `simulate`, replayed, printed, summed up and explained.

mod broken;
mod stories;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The program's own executable.
fn stormproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stormproof"));
    command.env("TZ", "UTC");
    command
}

fn run(args: &[&str]) -> Output {
    stormproof().args(args).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command prints when all is well.
fn said(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Exit code and standard error of a command that must fail, with the folder's name taken out.
fn refused(args: &[&str], folder: &Path) -> (i32, String) {
    let output = run(args);
    let code = output.status.code().expect("an exit code");
    (code, text(&output.stderr).replace(&folder.display().to_string(), "DIR").trim_end().to_owned())
}

/// The logged outage, recorded once for all tests that only read it.
fn outage() -> &'static Path {
    static RECORDED: OnceLock<TempDir> = OnceLock::new();
    let folder = RECORDED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("logs").display().to_string();
        said(&["simulate", "logged-outage", "--record", &directory, "--format", "json"]);
        folder
    });
    folder.path()
}

fn log(name: &str) -> String {
    outage().join("logs").join(name).display().to_string()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A copy of a folder, to be harmed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn every_router_and_seed_has_a_log_that_replays() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("logs").display().to_string();
    let args = ["simulate", "expected-rotation", "--seeds", "2", "--record", &directory, "--format", "json"];
    let summary: Value = serde_json::from_str(&said(&args)).expect("one document");
    let runs = summary["runs"].as_array().expect("runs");
    let logs = fs::read_dir(&directory).expect("logs").count();
    assert_eq!(logs, runs.len() * 2);
    for run in runs {
        let policy = run["policy"].as_str().expect("a name");
        for seed in 1..=2usize {
            let log = format!("{directory}/{policy}-{seed}");
            let report: Value = serde_json::from_str(&said(&["replay", &log, "--format", "json"])).expect("a document");
            assert_eq!((&report["same"], &report["unverified"]), (&true.into(), &0.into()), "{report}");
            assert!(report["decisions"].as_u64() > Some(500), "{report}");
            assert_eq!(report["seed"], seed);
            // What the summary counted is what is on record.
            let stats: Value =
                serde_json::from_str(&said(&["log", "stats", &log, "--format", "json"])).expect("a document");
            let counted = &run["per_seed"][seed - 1];
            assert_eq!(stats["requests"], counted["client_calls"], "{policy} {seed}");
        }
    }
    // A second recording does not mix with the first.
    let (code, error) = refused(&args, folder.path());
    assert_eq!(code, 2);
    assert!(error.ends_with("is there already; name another folder, or remove it"), "{error}");
}

#[test]
fn a_replay_says_what_was_compared() {
    let said = said(&["replay", &log("stormproof-1")]);
    assert!(said.contains("of stormproof/3, seed 1, up to 2025-04-19 05:58:16.144 (UTC)"), "{said}");
    assert!(said.contains("decisions and 0 checkpoints came out as recorded."), "{said}");
    let from = run(&["replay", &log("litellm-1.66-1"), "--from", "05:30", "--zone", "UTC"]);
    assert!(from.status.success(), "{}", text(&from.stderr));
}

#[test]
fn the_first_difference_is_shown_with_both_sides_and_its_neighbours() {
    let folder = tempfile::tempdir().expect("a folder");
    let harmed = folder.path().join("log");
    broken::change_a_dispatch(Path::new(&log("stormproof-1")), &harmed);
    let harmed = harmed.display().to_string();
    let output = run(&["replay", &harmed, "--zone", "America/Los_Angeles"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    stories::compare("stories/first-difference.txt", &error.replace(&harmed, "LOG"));
    let output = run(&["replay", &harmed, "--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!((output.status.code(), &document["same"]), (Some(1), &false.into()));
    assert!(document["sequence"].as_u64() > Some(0));
    assert_ne!(document["recorded"]["key"], document["replayed"]["key"]);
    assert_eq!(document["around"].as_array().map(Vec::len), Some(21));
}

#[test]
fn what_another_policy_decided_is_declared_not_verifiable() {
    let log = golden("log/frames").display().to_string();
    let output = run(&["replay", &log]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("they were decided by golden/1, which this build is not"));
    let error = text(&output.stderr);
    assert!(error.contains("was decided by golden/1, which this build is not: it can be read"), "{error}");
    assert!(said(&["log", "cat", &log]).lines().count() > 60, "and so it can");
}

#[test]
fn logs_that_cannot_be_read_say_where_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("empty")).expect("a folder");
    fs::write(at("text.log"), "not a log, but longer than the head of one would be").expect("written");
    copy(&golden("log/damaged"), &at("parent/damaged"));
    copy(&golden("log/damaged"), &at("missing"));
    fs::remove_file(at("missing/00000002.log")).expect("removed");
    copy(&golden("log/frames"), &at("newer"));
    broken::make_newer(&at("newer/00000001.log"));
    copy(&golden("log/torn"), &at("packed"));
    broken::flip(&at("packed/00000001.log.zst"), 60);
    copy(&golden("log/damaged"), &at("beheaded"));
    broken::flip(&at("beheaded/00000001.log"), 30);
    let rest = "everything before it can be read: restore the file from a copy, or move it and the segments after it elsewhere";
    for (name, expected) in [
        ("none", "error: there is no DIR/none; name the folder of a log, or one of its segments".to_owned()),
        ("empty", "error: DIR/empty holds no log: expected segments such as 00000001.log".to_owned()),
        ("text.log", "error: DIR/text.log holds no log: expected segments such as 00000001.log".to_owned()),
        (
            "parent",
            "error: DIR/parent holds no log: expected segments such as 00000001.log; but damaged in it does".to_owned(),
        ),
        ("missing", format!("error: 00000002.log is damaged at offset 0: the segment is missing; {rest}")),
        (
            "newer",
            "error: DIR/newer/00000001.log is written in log format 9; this build reads format 1: take a newer build"
                .to_owned(),
        ),
        (
            "packed",
            format!("error: 00000001.log.zst is damaged at offset 0: it cannot be decompressed from here on; {rest}"),
        ),
        ("beheaded", format!("error: 00000001.log is damaged at offset 0: the head of the segment is broken; {rest}")),
    ] {
        let path = at(name).display().to_string();
        for command in [vec!["replay", &path], vec!["log", "cat", &path], vec!["log", "stats", &path]] {
            assert_eq!(refused(&command, folder.path()), (2, expected.clone()), "{command:?}");
        }
        // A request that was over before the damage has its story all the same.
        if name != "missing" {
            assert_eq!(refused(&["log", "explain", &path, "1"], folder.path()), (2, expected), "explain {name}");
        }
    }
    let damaged = golden("log/damaged").display().to_string();
    let (code, error) = refused(&["log", "stats", &damaged], folder.path());
    assert_eq!(code, 2);
    assert!(error.starts_with("error: 00000002.log is damaged at offset "), "{error}");
    assert!(error.contains(": a broken frame with sound ones after it; everything before it can be read"), "{error}");
    // Damage to the last frame is what a crash leaves. It takes no command by surprise, and none is silent about it.
    copy(Path::new(&log("stormproof-1")), &at("torn"));
    broken::flip(&at("torn/00000001.log"), 9_000);
    let torn = at("torn").display().to_string();
    let tear = " bytes of 00000001.log from offset ";
    let (code, error) = refused(&["log", "explain", &torn, "3"], folder.path());
    assert!(code == 2 && error.contains("there is no request in this log") && error.contains(tear), "{error}");
    assert!(said(&["log", "explain", &torn, "--worst", "3"]).contains(tear));
    assert!(said(&["log", "stats", &torn]).contains(tear));
    let output = run(&["log", "cat", &torn]);
    assert!(output.status.success() && text(&output.stderr).contains(tear), "{output:?}");
    let output = run(&["replay", &torn]);
    assert_eq!(output.status.code(), Some(2), "nothing of it was verified");
    assert!(text(&output.stdout).contains(tear) && text(&output.stderr).contains("holds no event"), "{output:?}");
    // What is before the damage is printed.
    let output = run(&["log", "cat", &damaged]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).lines().count() > 30);
}

#[test]
fn bad_usage_is_refused_with_what_would_do() {
    let log = log("stormproof-1");
    for (args, expected) in [
        (vec!["log", "cat", &log, "--kind", "dispatched"], "there is no kind of event called `dispatched`; there are"),
        (vec!["log", "cat", &log, "--from", "yesterday"], "`yesterday` is no place in a log; write a time of day"),
        (vec!["log", "cat", &log, "--zone", "Mars/Olympus"], "there is no time zone `Mars/Olympus`"),
        (vec!["log", "cat", &log, "--key", "free-99"], "error: --key free-99: the log knows no such key; it has "),
        (vec!["log", "cat", &log, "--model", "gpt"], "error: --model gpt: the log knows no such model; it has "),
        (vec!["log", "explain", &log, "99"], "request 99 is not in this log, which has requests 1 to "),
        (vec!["log", "explain", &log], "<REQUEST>"),
        (vec!["log", "explain", &log, "1", "--worst", "3"], "cannot be used with"),
    ] {
        let (code, error) = refused(&args, Path::new("nowhere"));
        assert_eq!(code, 2, "{args:?}");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn cat_prints_one_document_a_line_and_filters() {
    let log = log("stormproof-1");
    let lines = |more: &[&str]| -> Vec<Value> {
        let args = [&["log", "cat", log.as_str()], more].concat();
        said(&args).lines().map(|line| serde_json::from_str(line).expect("a document")).collect()
    };
    let all = lines(&[]);
    for (number, line) in all.iter().enumerate() {
        assert_eq!(line["sequence"], number);
        assert!(line["time"].as_str().is_some_and(|time| time.starts_with("2025-04-19T05:")), "{line}");
    }
    let of = |field: &str, value: &Value| all.iter().filter(|line| &line[field] == value).cloned().collect::<Vec<_>>();
    assert_eq!(lines(&["--request", "3"]), of("request", &3.into()));
    assert_eq!(lines(&["--turn", "2"]), of("turn", &2.into()));
    assert_eq!(lines(&["--key", "mistral-01"]), of("key", &"mistral-01".into()));
    assert_eq!(lines(&["--model", "mistral"]), of("model", &"mistral".into()));
    assert_eq!(lines(&["--kind", "close"]), of("kind", &"close".into()));
    let closed = lines(&["--request", "1", "--kind", "close", "--kind", "dispatch"]);
    assert_eq!(closed.last().map(|line| &line["outcome"]), Some(&"answered".into()));
    assert_eq!(lines(&["--from", "#10", "--until", "#12"]), all[10..12]);
    let later = lines(&["--from", "05:30", "--until", "2025-04-19 05:40 UTC", "--zone", "UTC"]);
    let times: Vec<&str> = later.iter().filter_map(|line| line["time"].as_str()).collect();
    assert!(times.len() > 20 && times.iter().all(|time| ("2025-04-19T05:30".."2025-04-19T05:40").contains(time)));
    // Known from before the part that is shown.
    assert!(later.iter().filter(|line| line["kind"] == "finished").all(|line| line["model"].is_string()));
    // The same moment elsewhere.
    let pacific = lines(&["--from", "22:30", "--until", "22:40", "--zone", "America/Los_Angeles"]);
    assert_eq!(pacific, later);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    for args in [vec!["log", "cat"], vec!["log", "stats"], vec!["log", "explain", "--worst", "9"], vec!["replay"]] {
        let mut child = stormproof()
            .args(&args)
            .arg(log("litellm-1.66-1"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_log_that_grows_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut writer = broken::begin(&log);
    let mut child = stormproof()
        .args(["log", "cat", "--follow", "--kind", "cancelled"])
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for request in 1..=3 {
        broken::cancel(&mut writer, request);
        let line = lines.next().expect("one more line").expect("readable");
        let document: Value = serde_json::from_str(&line).expect("a document");
        assert_eq!((&document["kind"], &document["request"]), (&"cancelled".into(), &request.into()));
    }
    child.kill().expect("ended");
    child.wait().expect("gone");
}

#[test]
fn stats_are_for_people_and_for_programs() {
    let log = log("litellm-1.66-1");
    let lines = said(&["log", "stats", &log]);
    for expected in ["policy       litellm-1.66/1, seed 1\n", "requests     ", "attempts     ", "bytes an event"] {
        assert!(lines.contains(expected), "{lines}");
    }
    let document: Value = serde_json::from_str(&said(&["log", "stats", &log, "--format", "json"])).expect("a document");
    let closed: u64 = document["outcomes"].as_object().expect("outcomes").values().filter_map(Value::as_u64).sum();
    assert_eq!(document["requests"].as_u64(), Some(closed));
    assert_eq!(document["kinds"]["arrived"], document["requests"]);
    let torn = said(&["log", "stats", &golden("log/torn").display().to_string()]);
    assert!(
        torn.contains("\ntorn         ") && torn.contains("a crash leaves that, and so does damage to the last frame"),
        "{torn}"
    );
}
