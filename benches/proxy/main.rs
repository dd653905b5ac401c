//! What the live proxy costs, against a bare hyper reverse proxy on the same calls.
//!
//! ```text
//! cargo bench --bench proxy                    # everything
//! cargo bench --bench proxy -- translated      # only the cases with this in their name, without the rest
//! ```
//!
//! Both proxies are processes of their own, so that their CPU time can be told from that of the load and of the provider,
//! which live here. `CALLGRIND_OUT=FILE` keeps valgrind's profile of the last run, which is ours. Absolute figures differ by machine; the ratios are what is compared. Instructions are counted where
//! valgrind is installed. Added latency is what a proxy adds to a call that goes straight to the provider.

mod bare;
mod load;
mod process;
mod provider;

use std::net::SocketAddr;

use self::load::{Latency, Load};
use self::process::{Kind, Process, instructions};

/// A call, in the words of the client.
struct Case {
    name: &'static str,
    /// What our proxy is asked.
    path: &'static str,
    body: String,
    /// What the bare one is asked: the provider's own words.
    bare_path: &'static str,
    /// Calls that are measured.
    calls: usize,
    /// Calls under valgrind.
    counted: usize,
}

/// Connections of clients.
const CONNECTIONS: usize = 16;

/// How often each figure is taken.
const ROUNDS: usize = 5;

/// Text of about 900 bytes.
fn prompt() -> String {
    "The quick brown fox jumps over the lazy dog; ".repeat(20)
}

fn ask() -> String {
    format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{}"}}]}}]}}"#, prompt())
}

fn chat(model: &str, stream: bool) -> String {
    let text = prompt();
    format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

const CHAT: &str = "/v1/chat/completions";
const WHOLE: &str = "/v1beta/models/one:generateContent";
const ONE: &str = "/v1beta/models/one:streamGenerateContent?alt=sse";
const HUNDRED: &str = "/v1beta/models/hundred:streamGenerateContent?alt=sse";

fn cases() -> [Case; 6] {
    let case = |name, path, body, bare_path, calls, counted| Case { name, path, body, bare_path, calls, counted };
    [
        case("JSON, passed through", WHOLE, ask(), WHOLE, 20_000, 200),
        case("JSON, translated", CHAT, chat("one", false), WHOLE, 20_000, 200),
        case("SSE of 1 chunk, passed through", ONE, ask(), ONE, 20_000, 200),
        case("SSE of 1 chunk, translated", CHAT, chat("one", true), ONE, 20_000, 200),
        case("SSE of 100 chunks, passed through", HUNDRED, ask(), HUNDRED, 2_000, 50),
        case("SSE of 100 chunks, translated", CHAT, chat("hundred", true), HUNDRED, 2_000, 50),
    ]
}

/// What one proxy costs one case.
struct Cost {
    nanos: f64,
    instructions: Option<f64>,
}

fn main() -> anyhow::Result<()> {
    // The harness hands over flags of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    // The reference gets as many threads as our proxy has unless told otherwise: more would make it dearer.
    let threads = if words.first().is_some_and(|word| word == "bare") { 1 } else { 2 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        match words.as_slice() {
            [role, provider] if role == "bare" => bare::serve(provider.parse()?).await,
            [part] => measure(Some(part)).await,
            _ => measure(None).await,
        }
    })
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn measure(part: Option<&str>) -> anyhow::Result<()> {
    let provider = provider::start().await?;
    println!("load average at the start: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!(
        "\n{:<34} {:>9} {:>9} {:>7} {:>13} {:>13} {:>7}",
        "per call", "bare us", "ours us", "ratio", "bare instr", "ours instr", "ratio"
    );
    let mut costs: Vec<(Cost, Cost)> = Vec::new();
    for case in cases().into_iter().filter(|case| part.is_none_or(|part| case.name.contains(part))) {
        let (bare, ours) = compared(provider, &case).await?;
        row(case.name, &bare, &ours);
        costs.push((bare, ours));
    }
    if part.is_some() {
        return Ok(());
    }
    // What 99 chunks more cost, divided by 99.
    let per_chunk = |few: &Cost, many: &Cost| Cost {
        nanos: (many.nanos - few.nanos) / 99.0,
        instructions: few.instructions.zip(many.instructions).map(|(few, many)| (many - few) / 99.0),
    };
    if let [_, _, one, one_translated, hundred, hundred_translated] = costs.as_slice() {
        for (name, few, many) in [
            ("one chunk more, passed through", one, hundred),
            ("one chunk more, translated", one_translated, hundred_translated),
        ] {
            row(name, &per_chunk(&few.0, &many.0), &per_chunk(&few.1, &many.1));
        }
    }
    latency(provider).await?;
    footprint(provider).await
}

/// What both proxies cost a case. They take turns, and the least of their rounds counts: what others do on the machine
/// makes a round dearer, never cheaper.
async fn compared(provider: SocketAddr, case: &Case) -> anyhow::Result<(Cost, Cost)> {
    let ask = ask();
    let asked = [(Kind::Bare, case.bare_path, ask.as_str()), (Kind::Ours, case.path, case.body.as_str())];
    let mut least = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for ((kind, path, body), least) in asked.iter().zip(&mut least) {
            *least = least.min(nanos(*kind, provider, path, body, case.calls).await?);
        }
    }
    let mut costs = Vec::new();
    for ((kind, path, body), nanos) in asked.into_iter().zip(least) {
        costs.push(Cost { nanos, instructions: instructions(kind, provider, path, body, case.counted).await? });
    }
    let [bare, ours] = <[Cost; 2]>::try_from(costs).map_err(|_costs| anyhow::anyhow!("two proxies were measured"))?;
    Ok((bare, ours))
}

/// CPU time of one call.
async fn nanos(kind: Kind, provider: SocketAddr, path: &str, body: &str, calls: usize) -> anyhow::Result<f64> {
    let process = Process::start(kind, provider).await?;
    let load = Load { address: process.address, path, body };
    load.run(CONNECTIONS, calls / 10).await?;
    let before = process.cpu_nanos()?;
    load.run(CONNECTIONS, calls).await?;
    Ok((process.cpu_nanos()? - before) as f64 / calls as f64)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn row(name: &str, bare: &Cost, ours: &Cost) {
    let counted = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    let ratio = bare.instructions.zip(ours.instructions).map_or("-".to_owned(), |(of, is)| format!("{:.2}", is / of));
    println!(
        "{name:<34} {:>9.1} {:>9.1} {:>7.2} {:>13} {:>13} {ratio:>7}",
        bare.nanos / 1e3,
        ours.nanos / 1e3,
        ours.nanos / bare.nanos,
        counted(bare.instructions),
        counted(ours.instructions),
    );
}

/// What a proxy adds at a low rate: one call at a time.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn latency(provider: SocketAddr) -> anyhow::Result<()> {
    const CALLS: usize = 4_000;
    println!("\n{:<34} {:>9} {:>9}", "added latency, one call at a time", "p50 us", "p99 us");
    let body = ask();
    // As above, the least of the rounds counts.
    let direct = Load { address: provider, path: WHOLE, body: &body };
    let mut least = direct.latencies(CALLS).await?;
    for _ in 1..ROUNDS {
        least = least.least(direct.latencies(CALLS).await?);
    }
    for kind in [Kind::Bare, Kind::Ours] {
        let process = Process::start(kind, provider).await?;
        let load = Load { address: process.address, path: WHOLE, body: &body };
        load.run(1, CALLS / 10).await?;
        let mut through = load.latencies(CALLS).await?;
        for _ in 1..ROUNDS {
            through = through.least(load.latencies(CALLS).await?);
        }
        let Latency { p50, p99 } = through.less(least);
        println!("{:<34} {p50:>9.0} {p99:>9.0}", kind.name());
    }
    Ok(())
}

/// Memory and start.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn footprint(provider: SocketAddr) -> anyhow::Result<()> {
    println!("\n{:<34} {:>9} {:>9} {:>9}", "", "idle MiB", "busy MiB", "start ms");
    let body = ask();
    for kind in [Kind::Bare, Kind::Ours] {
        let begin = load::now();
        let process = Process::start(kind, provider).await?;
        let idle = process.memory_mib()?;
        let load = Load { address: process.address, path: WHOLE, body: &body };
        load.run(1, 1).await?;
        let started = begin.elapsed().as_secs_f64() * 1e3;
        load.run(CONNECTIONS, 5_000).await?;
        println!("{:<34} {idle:>9.1} {:>9.1} {started:>9.1}", kind.name(), process.memory_mib()?);
    }
    Ok(())
}
