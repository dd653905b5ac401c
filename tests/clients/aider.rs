//! aider, the program that gave up in the logged incident, in front of an overloaded model: alone it sees the 503s and
//! climbs its ladder of waits; through the proxy it notices nothing.

use std::net::SocketAddr;
use std::process::Command;

use stormproof_simulator::mock::{Answer, secret};
use stormproof_simulator::scenario::{Document, Embedded};
use tokio::runtime::{Builder, Runtime};

use super::{PATIENCE_S, USUAL, installed};
use crate::stage::Stage;

/// What the mock answers to what aider is told to say.
const ECHO: &str = "You said: \"Say hello";

fn stage() -> (Runtime, Stage) {
    let document = Document::parse(include_str!("aider/storm.yaml"), "storm.yaml", Embedded(&[])).expect("a good one");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let stage = runtime.block_on(Stage::open(&document, 1, 1, USUAL));
    (runtime, stage)
}

/// Lets aider ask once, and returns what it printed.
fn aider(address: SocketAddr, path: &str, model: &str, key: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("timeout")
        .arg(PATIENCE_S)
        .arg(installed().join("aider/bin/aider"))
        .args(["--message", "Say hello", "--chat-mode", "ask", "--no-git", "--yes-always", "--map-tokens", "0"])
        .args(["--no-check-update", "--no-analytics", "--no-show-model-warnings", "--no-show-release-notes"])
        .args(["--no-pretty", "--model", &format!("openai/{model}"), "--openai-api-key", key])
        .args(["--openai-api-base", &format!("http://{address}{path}")])
        .env("HOME", folder.path())
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("timeout, of the coreutils");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(ECHO), "{}\n{said}\n{complained}", output.status);
    said
}

/// Calls that the mock answered with an overload.
fn overloads(stage: &Stage) -> usize {
    stage.mock.calls(0, usize::MAX).iter().filter(|call| call.answer == Answer::Status(503)).count()
}

#[test]
fn alone_it_meets_the_storm_and_waits() {
    let (runtime, stage) = stage();
    let said = aider(stage.mock.address(), "/v1beta/openai", "gemini-2.5-pro-exp-03-25", &secret("free-01"));
    assert!(said.contains("overloaded") && said.contains("Retrying in 0.2 seconds"), "{said}");
    assert_eq!(overloads(&stage), 4, "three calls of its library, and one of the next three");
    runtime.block_on(stage.close());
}

#[test]
fn through_the_proxy_it_notices_nothing() {
    let (runtime, stage) = stage();
    let said = aider(stage.serving.address(), "/v1", "gemini-2.5-pro", "anything");
    assert!(!said.contains("overloaded") && !said.contains("Retrying"), "{said}");
    assert!(overloads(&stage) >= 2, "there was a storm");
    runtime.block_on(stage.close());
}
