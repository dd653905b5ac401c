//! What the compiler and clippy cannot see: rules about the repository as a whole.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
struct Source {
    path: String,
    text: String,
}

/// Every text file, without what builds and tests leave behind.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path: PathBuf = entry.expect("a readable folder").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name == ".git" {
                continue;
            }
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "out" | "node_modules" | "proptest-regressions") {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the walk must find the repository");
    found
}

fn is_rust(source: &Source) -> bool {
    source.path.ends_with(".rs")
}

/// Code that is not a test: what ships.
fn ships(source: &Source) -> bool {
    is_rust(source) && (source.path.starts_with("src/") || source.path.contains("/src/"))
}

/// Lines of `sources` that contain one of `banned`, as `path:line: text`.
fn offenders<'a>(sources: impl Iterator<Item = &'a Source>, banned: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    found
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

#[test]
fn a_file_is_one_subject() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| is_rust(source))
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > 1000)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&long, "no source file has more than 1000 lines");
}

#[test]
fn the_core_is_sans_io() {
    let sources = sources();
    let core = sources.iter().filter(|source| source.path.starts_with("router/src/core/"));
    let banned = [
        "tokio",
        "std::net",
        "std::fs",
        "std::io",
        "std::thread",
        "std::env",
        "jiff",
        "tracing::",
        "crate::wire",
        "crate::log",
        "crate::config",
        "crate::proxy",
        "Mutex",
        "println!",
    ];
    assert_none(&offenders(core, &banned), "the core neither does I/O nor knows who drives it");
}

#[test]
fn the_world_does_not_know_who_asks() {
    let sources = sources();
    let world = sources.iter().filter(|source| source.path.starts_with("simulator/src/world/"));
    let banned = [
        "tokio",
        "std::net",
        "std::fs",
        "std::thread",
        "crate::engine",
        "crate::study",
        "crate::mock",
        "crate::clients",
    ];
    assert_none(&offenders(world, &banned), "the mock and the simulator ask the same world");
}

#[test]
fn dependencies_point_one_way() {
    let sources = sources();
    let router = sources.iter().filter(|source| source.path.starts_with("router/src/"));
    assert_none(&offenders(router, &["stormproof_simulator", "stormproof_reports"]), "the router knows nobody");
    let simulator = sources.iter().filter(|source| source.path.starts_with("simulator/src/"));
    assert_none(
        &offenders(simulator, &["stormproof_reports", "stormproof_router::proxy"]),
        "the simulator knows the router without its proxy, and no report",
    );
    let reports = sources.iter().filter(|source| source.path.starts_with("reports/src/"));
    assert_none(
        &offenders(reports, &["stormproof_router", "simulator::engine", "simulator::world", "simulator::clients"]),
        "a report knows summaries only",
    );
}

#[test]
fn nothing_is_left_for_later() {
    let sources = sources();
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("#[ig", "nore"),
    ];
    assert_none(&offenders(sources.iter().filter(|s| is_rust(s)), &banned), "no stub and no ignored test");
}

#[test]
fn tests_do_not_sleep() {
    let sources = sources();
    let banned = [concat!("thread::", "sleep"), concat!("time::", "sleep(Duration::from_secs")];
    let tests = sources.iter().filter(|source| is_rust(source) && source.path.contains("tests/"));
    assert_none(&offenders(tests, &banned), "a test waits for an event, not for time to pass");
}

#[test]
fn lint_exceptions_give_their_reason() {
    for source in sources().iter().filter(|source| is_rust(source)) {
        let text = &source.text;
        for (at, _) in text.match_indices(concat!("[al", "low(")).chain(text.match_indices(concat!("[ex", "pect("))) {
            let end = text[at..].find(")]").map_or(text.len(), |end| at + end);
            assert!(text[at..end].contains("reason"), "{}: {}", source.path, &text[at..end]);
        }
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let sources = sources();
    let banned = [
        concat!("/wo", "rk/"),
        concat!("../sha", "red"),
        concat!("/tm", "p/"),
        concat!("registry.npm", "js"),
        concat!("pypi", ".org"),
    ];
    let spoken = sources.iter().filter(|source| !source.path.ends_with("Cargo.lock"));
    assert_none(&offenders(spoken, &banned), "no path of a machine and no host of a registry");
}

#[test]
fn secrets_are_not_lying_about() {
    for source in &sources() {
        for (at, _) in source.text.match_indices(concat!("AI", "za")) {
            let key: String =
                source.text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
            let spelt = key.to_ascii_lowercase();
            let made_up = key.len() != 39 || ["example", "test", "fake"].iter().any(|word| spelt.contains(word));
            assert!(made_up, "{}: something that looks like a real key", source.path);
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    let sources = sources();
    let libraries = sources.iter().filter(|source| ships(source) && !source.path.starts_with("src/"));
    assert_none(
        &offenders(libraries, &[concat!("print", "ln!("), concat!("process::", "exit")]),
        "libraries return, the command line prints",
    );
}
