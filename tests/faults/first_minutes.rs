//! What somebody meets in the first minutes: one variable, an example configuration, a look at the keys.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;

use serde_json::json;

use crate::process::{Proxy, SECRET, Site};
use crate::provider::{Deed, Provider};

#[tokio::test]
async fn one_variable_is_enough_and_what_was_assumed_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let keys: Vec<String> = (1..=21).map(|number| format!("{SECRET}{number}")).collect();
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve 3<&0 </dev/null"#, env!("CARGO_BIN_EXE_stormproof")])
        .current_dir(folder.path())
        .env("GEMINI_API_KEYS", keys.join(","))
        .env("RUST_LOG", "info")
        .stdin(OwnedFd::from(socket));
    let mut proxy = Proxy::spawn(command);
    proxy.says("21 keys, assumed 21 projects; if they share one, set `projects: shared`").await;
    proxy.serves().await;
    let models = proxy.read("/v1beta/models").await;
    assert!(models.status == 200 && models.body.contains("models/gemini-2.5-pro"), "{models:?}");
    proxy.is_sound();
}

#[test]
fn the_example_configurations_are_good() {
    for (file, keys) in [("deploy/stormproof.yaml", 23), ("scenarios/stormproof.yaml", 25)] {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let checked = Command::new(env!("CARGO_BIN_EXE_stormproof"))
            .args(["check", "--without-secrets", &path])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && said.contains(&format!("{keys} keys")), "{file}: {checked:?}");
    }
}

#[tokio::test]
async fn a_check_asks_every_key_and_shows_none() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 100, "");
    provider.does(|call| {
        assert!(call.path.starts_with("/v1beta/models"), "{}", call.path);
        if call.key.ends_with("free-2") {
            let text = format!("API key not valid: {}", call.key);
            Deed::Say(400, json!({"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}).to_string())
        } else {
            Deed::Say(200, json!({"models": [{"name": "models/g-free"}]}).to_string())
        }
    });
    let checked = site.check_keys().await;
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    for line in [
        "free-01 for g-free: good",
        "free-02 for g-free: refused with status 400",
        "paid-01 for g-paid: good, but it does not list this model",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is not in\n{said}");
    }
    assert!(!format!("{said}{}", String::from_utf8_lossy(&checked.stderr)).contains(SECRET));
    assert_eq!(provider.calls().len(), 3);
}
