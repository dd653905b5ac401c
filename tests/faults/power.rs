//! The power fails under a running proxy. What a disk may then be left with is made by hand: the end of the log is cut
//! off as far as the proxy lets it be at stake, and the machine's boot that the log names is made another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stormproof_router::core::{Dispatch, Output};
use stormproof_router::log::{BootId, Reader, What};

use crate::process::{Answer, Site, tier};
use crate::provider::Provider;

/// Requests a day of each of the two free keys. A twentieth of it may be at stake.
const RPD: u64 = 60;

/// The frames of the only segment of a log, where they end, with the head before them.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = 20 + word(12);
    let mut found = Vec::new();
    while at < bytes.len() {
        let end = at + 8 + word(at);
        found.push(at..end);
        at = end;
    }
    found
}

fn segment(log: &Path) -> PathBuf {
    log.join("00000001.log")
}

/// Cuts the log before the frame with the first of the last so many dispatches.
fn forget(log: &Path, dispatches: usize) {
    let bytes = fs::read(segment(log)).expect("a segment");
    let sound = frames(&bytes);
    for frame in sound.iter().rev() {
        fs::write(segment(log), &bytes[..frame.start]).expect("written");
        if dispatched(log) + dispatches <= dispatched_in(&bytes, log) {
            return;
        }
    }
    panic!("the log has no {dispatches} dispatches");
}

/// How many calls were dispatched by what a log says.
fn dispatched(log: &Path) -> usize {
    let mut reader = Reader::open(log).expect("a log");
    let mut count = 0;
    while let Some(event) = reader.read().expect("it can be read") {
        count += usize::from(matches!(event.what, What::Output(Output::Dispatch(Dispatch { .. }))));
    }
    count
}

fn dispatched_in(bytes: &[u8], beside: &Path) -> usize {
    let copy = beside.join("whole");
    fs::create_dir_all(&copy).expect("a folder");
    fs::write(segment(&copy), bytes).expect("written");
    let count = dispatched(&copy);
    fs::remove_dir_all(copy).expect("it is there");
    count
}

/// Makes the boot of this machine that the log names another one.
fn boot_anew(log: &Path) {
    let boot = BootId::current().expect("Linux tells").0;
    let written = postcard::to_stdvec(&Some(boot)).expect("a number");
    let other = postcard::to_stdvec(&Some(boot ^ 1 << 100)).expect("a number");
    assert_eq!(written.len(), other.len());
    let mut bytes = fs::read(segment(log)).expect("a segment");
    let mut changed = 0;
    for frame in frames(&bytes) {
        let body = &mut bytes[frame.start + 8..frame.end];
        let place = body.windows(written.len()).position(|window| window == written);
        let Some(place) = place else { continue };
        body[place..place + other.len()].copy_from_slice(&other);
        let length: [u8; 4] = bytes[frame.start..frame.start + 4].try_into().expect("four bytes");
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), &bytes[frame.start + 8..frame.end]);
        bytes[frame.start + 4..frame.start + 8].copy_from_slice(&checksum.to_le_bytes());
        changed += 1;
    }
    assert!(changed > 0, "the log names the boot");
    fs::write(segment(log), bytes).expect("written");
}

/// What a command prints that is asked about the log.
fn told(command: &str, log: &Path, more: &[&str]) -> String {
    let mut process = Command::new(env!("CARGO_BIN_EXE_stormproof"));
    let output = process.args(command.split(' ')).arg(log).args(more).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn after_a_power_loss_no_less_counts_than_clients_saw_spent() {
    let provider = Provider::start().await;
    // Nothing is synced but what has to be.
    let site = Site::new(provider.address, RPD as u32, ", sync: 1h");
    site.edit(
        "rpm: 100k}, price: 1 USD/answer, budget: 50000 USD/day",
        "rpm: 100k}, price: 1 USD/answer, budget: 40 USD/day",
    );
    let proxy = site.serve().await;
    for _ in 0..2 * RPD + 9 {
        let answer: Answer = proxy.ask("60s").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    proxy.kill();
    // A twentieth of 40 USD are two calls of a dollar.
    forget(&site.log(), 2);
    boot_anew(&site.log());
    let proxy = site.serve().await;
    let status = proxy.status().await;
    assert_eq!(tier(&status, "free")["left_today"], 0);
    assert_eq!(
        (&tier(&status, "paid")["spent_usd"], &tier(&status, "paid")["assumed_usd"]),
        (&9.0.into(), &2.0.into())
    );
    let attention = status["attention"].to_string();
    assert!(attention.contains("the power failed after") && attention.contains("2.00 USD"), "{attention}");
    assert_eq!(proxy.ask("60s").await.status, 200);
    assert!(proxy.look("/metrics").await.body.contains("assumed"), "metrics tell as well");
    proxy.terminate();
    assert!(proxy.ended().await.success());

    // Closed in order: another boot means nothing.
    boot_anew(&site.log());
    let proxy = site.serve().await;
    assert_eq!(tier(&proxy.status().await, "paid")["spent_usd"], 10.0);
    proxy.is_sound();
    proxy.terminate();
    assert!(proxy.ended().await.success());

    assert_eq!(told("log cat --kind operator", &site.log(), &[]).matches("\"power_lost\"").count(), 1);
    assert!(told("replay", &site.log(), &[]).contains("decisions"));
    assert!(!told("replay", &site.log(), &["--set", "retry.max_attempts=4", "--seeds", "2"]).is_empty());
}

#[tokio::test]
async fn free_requests_that_were_forgotten_are_charged_and_the_story_says_so() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, RPD as u32, ", sync: 1h");
    let proxy = site.serve().await;
    for _ in 0..17 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    proxy.kill();
    // Three of each key.
    forget(&site.log(), 6);
    boot_anew(&site.log());
    let proxy = site.serve().await;
    let left = tier(&proxy.status().await, "free")["left_today"].as_u64().expect("a number");
    assert_eq!(left, 2 * RPD - 17);
    let answer = proxy.ask("60s").await;
    let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
    proxy.is_sound();
    proxy.terminate();
    assert!(proxy.ended().await.success());
    let story = told("log explain", &site.log(), &[&id]);
    assert!(story.contains("The power had failed after") && story.contains("5 % of every limit"), "{story}");
    assert!(told("replay", &site.log(), &[]).contains("decisions"));
}

#[tokio::test]
async fn with_every_write_on_disk_a_power_loss_costs_nothing() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, RPD as u32, ", sync: 0");
    let proxy = site.serve().await;
    for _ in 0..5 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    proxy.kill();
    boot_anew(&site.log());
    let proxy = site.serve().await;
    let status = proxy.status().await;
    assert_eq!(tier(&status, "free")["left_today"], 2 * RPD - 5);
    assert!(!status["attention"].to_string().contains("power"));
    proxy.kill();
    assert_eq!(told("log cat --kind operator", &site.log(), &[]), "");
}
