//! Stories word by word. `BLESS=1 cargo test --test log stories` writes what is told now: read it as somebody would who was
//! woken by it, and commit it only if nothing has to be asked.

use std::fs;

use crate::{golden, log, outage, said};

#[test]
fn the_logged_outage_is_told() {
    for (name, log_name, request) in [
        ("litellm-the-first-503", "litellm-1.66-1", 2),
        ("litellm-no-deployments-available", "litellm-1.66-1", 4),
        ("stormproof-rate-limited", "stormproof-1", 1),
        ("stormproof-overloaded", "stormproof-1", 3),
    ] {
        let story = said(&["log", "explain", &log(log_name), &request.to_string()]);
        compare(&format!("stories/{name}.txt"), &story);
    }
    for router in ["litellm-1.66", "stormproof"] {
        let list = said(&["log", "explain", "--worst", "10", &log(&format!("{router}-1"))]);
        let list = list.replace(&outage().display().to_string(), "DIR");
        compare(&format!("stories/{router}-worst.txt"), &list);
    }
}

/// Compares with a golden file, or writes it.
pub(crate) fn compare(name: &str, told: &str) {
    let path = golden(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, told).expect("written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(told == expected, "{} is told otherwise:\n{told}", path.display());
}
