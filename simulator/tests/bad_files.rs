//! Files that are wrong, each with the exact messages that their author should get.
//!
//! A file ends with its messages, one `# expected: ` line each. `BLESS=1 cargo test -p stormproof-simulator --test
//! bad_files` writes what is said now; read it before committing it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stormproof_router::config::{Config, Errors, MemoryEnvironment, moment};
use stormproof_simulator::scenario::{Folder, parse};

const EXPECTED: &str = "# expected: ";

fn environment() -> MemoryEnvironment {
    let numbered =
        |prefix: &str, count: u32| (1..=count).map(|number| format!("{prefix}-{number}")).collect::<Vec<_>>().join(",");
    let variables = [
        ("FREE_KEYS", numbered("s3cret-free", 21)),
        ("PAID_KEYS", numbered("s3cret-paid", 2)),
        ("MORE_KEYS", numbered("s3cret-more", 1)),
        ("CUT_KEYS", numbered("s3cret-free", 20)),
        ("TWIN_KEYS", "s3cret-paid-1,s3cret-free-3".to_owned()),
        ("EMPTY_KEYS", " ,\n".to_owned()),
        ("ADMIN_TOKEN", "s3cret-admin".to_owned()),
        ("AIDER_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
    MemoryEnvironment { variables, files: BTreeMap::new() }
}

fn check_config(text: &str, name: &str) -> Result<(), Errors> {
    let (now, _) = moment("2025-04-18 22:10 America/Los_Angeles").expect("a moment");
    Config::parse(text, name)?.resolve(&environment(), b"salt", now).map(drop)
}

fn check_scenario(text: &str, name: &str, folder: &Path) -> Result<(), Errors> {
    parse(text, name, Folder(folder.to_path_buf())).map(drop)
}

fn files(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bad").join(kind);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 25, "{} files of {kind}", files.len());
    files
}

/// What a file's author should be told, and the file without it.
fn split(text: &str) -> (String, String) {
    let is_expected = |line: &&str| line.starts_with(EXPECTED);
    let expected = text.lines().filter(is_expected).map(|line| &line[EXPECTED.len()..]).collect::<Vec<_>>().join("\n");
    let file = text.lines().filter(|line| !is_expected(line)).map(|line| format!("{line}\n")).collect();
    (expected, file)
}

#[expect(clippy::print_stdout, reason = "with --nocapture the test shows all messages to whoever reviews them")]
fn print(said: &str) {
    println!("{said}");
}

fn check_all(kind: &str, check: impl Fn(&str, &str, &Path) -> Result<(), Errors>) {
    let mut wrong = Vec::new();
    for path in files(kind) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let (expected, file) = split(&fs::read_to_string(&path).expect("readable"));
        let said = check(&file, name, path.parent().expect("a folder")).err().map(|errors| errors.to_string());
        let said = said.unwrap_or_else(|| "nothing is wrong".to_owned());
        print(&said);
        assert!(!said.contains("s3cret"), "{name} tells a secret: {said}");
        if std::env::var_os("BLESS").is_some() {
            let lines: String = said.lines().map(|line| format!("{EXPECTED}{line}\n")).collect();
            fs::write(&path, format!("{file}{lines}")).expect("written");
        } else if said != expected {
            wrong.push(format!("{name}\n  expected {expected}\n  but said {said}"));
        }
        assert_ne!(said, "nothing is wrong", "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_configurations_say_what_is_wrong_and_what_to_do() {
    check_all("config", |text, name, _| check_config(text, name));
}

#[test]
fn bad_scenarios_say_what_is_wrong_and_what_to_do() {
    check_all("scenario", check_scenario);
}
