//! `stormproof mock` as a program: what it prints is enough to use it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use stormproof_router::config::{Config, MemoryEnvironment};
use stormproof_router::core::WallTime;

use crate::http::Ask;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _killed = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The address in a line: what stands behind `http://`, up to anything that no address holds.
fn address(line: &str) -> SocketAddr {
    let rest = line.split("http://").nth(1).expect("an address");
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':'))).unwrap_or(rest.len());
    rest[..end].parse().expect("an address")
}

#[tokio::test]
async fn the_mock_says_how_to_use_it_and_writes_the_proxys_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = folder.path().join("mocked.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stormproof"));
    command.args(["mock", "expected-rotation", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    command.args(["--time-scale", "0", "--set", "world.latency=0s", "--serve-config"]).arg(&written);
    command.env("STORMPROOF_MOCK", "operators-only").stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("the program starts"));
    let out = BufReader::new(running.0.stdout.take().expect("its output"));
    // All that it says: a program whose output nobody reads to the end would end itself.
    let lines: Vec<String> = out.lines().take(6).map(|line| line.expect("a line")).collect();
    let find = |lead: &str| lines.iter().find(|line| line.starts_with(lead)).expect("a line that says so");
    let (mock, control) = (address(find("gemini: ")), address(find("control: ")));
    assert!(find("  as its client aider: ").contains("mock-aider") && lines[5].contains("STORMPROOF_ADMIN=mock-admin"));

    let body = json!({"contents": [{"parts": [{"text": "Hello"}]}]});
    let generate = Ask::post("/v1beta/models/gemini-2.5-pro-exp-03-25:generateContent", &body);
    assert_eq!(generate.google("mock-free-01").json(mock, 200).await["candidates"][0]["finishReason"], "STOP");
    let state = Ask::get("/").bearer("operators-only").json(control, 200).await;
    assert_eq!((&state["calls"], &state["keys"]["free-01"]), (&json!(1), &json!({"200": 1})));

    let text = std::fs::read_to_string(&written).expect("written before it says so");
    let config = Config::parse(&text, "mocked.yaml").expect("a configuration");
    let resolved = config.resolve(&MemoryEnvironment::default(), b"salt", WallTime::default()).expect("no secrets");
    assert!(resolved.endpoints.iter().all(|endpoint| endpoint.base_url.contains(&mock.to_string())));
}
