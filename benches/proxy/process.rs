//! The proxies as processes, and what they use.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use super::load::Load;

/// Which proxy.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// The reference.
    Bare,
    /// Stormproof.
    Ours,
}

/// A running proxy; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// What it says, from behind its address on.
    rest: BufReader<Box<dyn Read + Send>>,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours => "ours",
        }
    }
}

impl Process {
    /// Starts a proxy in front of `provider`, and waits for its address.
    pub(crate) async fn start(kind: Kind, provider: SocketAddr) -> anyhow::Result<Self> {
        Self::start_in(kind, provider, &[]).await
    }

    /// The same, by another program that runs it.
    async fn start_in(kind: Kind, provider: SocketAddr, runner: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut words: Vec<String> = runner.iter().map(|word| (*word).to_owned()).collect();
        match kind {
            Kind::Bare => {
                words.extend([std::env::current_exe()?.display().to_string(), "bare".to_owned(), provider.to_string()])
            }
            Kind::Ours => {
                let path = folder.path().join("stormproof.yaml");
                let log = folder.path().join("log");
                std::fs::write(&path, configuration(provider, &log.display().to_string()))?;
                words.extend(
                    [env!("CARGO_BIN_EXE_stormproof"), "serve", "--config", &path.display().to_string()]
                        .map(str::to_owned),
                );
            }
        }
        let (program, arguments) = words.split_first().context("a program")?;
        let mut command = Command::new(program);
        command.args(arguments).env("KEYS", "k1,k2,k3").stdin(Stdio::null());
        match kind {
            Kind::Bare => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
            Kind::Ours => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let (errors, output) = (child.stderr.take().context("piped")?, child.stdout.take());
        let said = tokio::task::spawn_blocking(move || {
            let mut errors: BufReader<Box<dyn Read + Send>> = BufReader::new(Box::new(errors));
            let mut line = String::new();
            if let Some(output) = output {
                BufReader::new(output).read_line(&mut line)?;
                return anyhow::Ok((line.trim().parse::<SocketAddr>()?, errors));
            }
            while errors.read_line(&mut line)? > 0 {
                if let Some(address) = address_in(&line) {
                    return Ok((address, errors));
                }
                line.clear();
            }
            Err(anyhow!("the proxy ended without an address"))
        });
        let (address, rest) = said.await??;
        Ok(Self { child, rest, address, _folder: folder })
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_nanos(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split(' ').next().context("a figure")?.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Its memory.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a figure")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Ends it and returns all that it still says.
    async fn end(mut self) -> anyhow::Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            self.rest.read_to_string(&mut text)?;
            anyhow::Ok(text)
        });
        read.await?
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Instructions per call: the difference of two runs, so that the start counts for nothing. `None` without valgrind.
pub(crate) async fn instructions(
    kind: Kind,
    provider: SocketAddr,
    path: &str,
    body: &str,
    calls: usize,
) -> anyhow::Result<Option<f64>> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    // Without fairness one thread may keep the others from running for seconds.
    let profile = std::env::var("CALLGRIND_OUT").unwrap_or_else(|_unset| "/dev/null".to_owned());
    let out = format!("--callgrind-out-file={profile}");
    let runner = ["valgrind", "--tool=callgrind", &out, "--fair-sched=yes"];
    let mut totals = Vec::new();
    for calls in [calls / 5, calls / 5 + calls] {
        let process = Process::start_in(kind, provider, &runner).await?;
        Load { address: process.address, path, body }.run(4, calls).await?;
        let said = process.end().await?;
        let total = said.lines().find_map(|line| line.split_once("Collected : ")).context("valgrind gives a total")?;
        totals.push(total.1.trim().parse::<f64>()?);
    }
    let [few, many] = totals.as_slice() else { return Ok(None) };
    Ok(Some((many - few) / calls as f64))
}

/// The address in a line of our log, if it is the one that says where clients are served.
fn address_in(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    fields.get("message").filter(|message| *message == "serving")?;
    fields.get("address")?.as_str()?.parse().ok()
}

/// Three keys without limits that bind, so that the policy is at work and nothing waits.
fn configuration(provider: SocketAddr, log: &str) -> String {
    format!(
        "
listen: 127.0.0.1:0
log: {{dir: \"{log}\"}}
providers: {{gemini: {{dialect: gemini, base_url: \"http://{provider}\"}}}}
keys: {{free: {{provider: gemini, secrets: {{env: KEYS}}, projects: separate}}}}
tiers:
  one: {{keys: free, upstream: one, limits: {{rpm: 1M, tpm: 1000M, rpd: 100M}}, price: free}}
  hundred: {{keys: free, upstream: hundred, limits: {{rpm: 1M, tpm: 1000M, rpd: 100M}}, price: free}}
models: {{one: {{tiers: [one]}}, hundred: {{tiers: [hundred]}}}}
"
    )
}
