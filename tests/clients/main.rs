//! The real client libraries, in the versions pinned beside this file, driven against the mock: each makes every call
//! it knows and meets every failure, and raises its own right exception. What is installed stays in `target/clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use stormproof_simulator::mock::{CutManner, ErrorManner, MalformedManner, Manners, Mock, Setup, secret};
use stormproof_simulator::scenario::{self, Embedded};
use tokio::runtime::{Builder, Runtime};

/// Longer than any of them takes.
const PATIENCE_S: &str = "300";

/// A mock of the pool with a runtime of its own.
struct Pool {
    runtime: Runtime,
    mock: Mock,
}

impl Pool {
    fn start(manners: Manners) -> Self {
        let scenario = scenario::parse(include_str!("pool.yaml"), "pool.yaml", Embedded(&[])).expect("a good scenario");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listen = ([127, 0, 0, 1], 0).into();
        let setup = Setup { case: &scenario.case, seed: 1, listen, control: None, time_scale: 1, manners };
        let mock = runtime.block_on(Mock::start(setup)).expect("a free port");
        Self { runtime, mock }
    }

    /// Runs the cases of one library and fails with what they print.
    fn drive(self, program: &str, cases: &str) {
        let address = self.mock.address();
        let output = Command::new("timeout")
            .arg(PATIENCE_S)
            .arg(installed().join(program))
            .arg(runnable(cases))
            .env("OPENAI_BASE", format!("http://{address}/v1"))
            .env("COMPAT_BASE", format!("http://{address}/v1beta/openai"))
            .env("GOOGLE_BASE", format!("http://{address}"))
            .env("OPENAI_KEY", secret("openai-01"))
            .env("SPENT_KEY", secret("openai-02"))
            .env("MISTRAL_KEY", secret("mistral-01"))
            .env("GOOGLE_KEY", secret("google-01"))
            .env("SUSPENDED_KEY", secret("google-02"))
            .env("EXPRESS_KEY", secret("express-01"))
            .env("UNKNOWN_KEY", "nobody-knows-it")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("GOOGLE_API_KEY")
            .env_remove("OPENAI_API_KEY")
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .expect("timeout, of the coreutils");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("ok "), "{cases}: {}\n{said}\n{complained}", output.status);
        drop(self.mock);
        self.runtime.shutdown_background();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The folder with the libraries, which are installed if they are not there.
fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").join("clients");
    let install = Command::new("bash").arg(folder().join("install.sh")).arg(&target).output().expect("bash");
    assert!(install.status.success(), "the client libraries: {}", String::from_utf8_lossy(&install.stderr));
    target
}

/// Where a file of cases can be run: Node finds libraries only above the file that wants them.
fn runnable(cases: &str) -> PathBuf {
    let here = folder().join(cases);
    if here.extension().is_none_or(|extension| extension != "mjs") {
        return here;
    }
    let there = installed().join("node");
    for file in [&here, &here.with_file_name("cases.mjs")] {
        let name = file.file_name().expect("a file");
        std::fs::copy(file, there.join(name)).expect("a folder to write to");
    }
    there.join(here.file_name().expect("a file"))
}

/// Failures as most providers show them.
const USUAL: Manners = Manners {
    error_event: Some(ErrorManner::Event),
    cut: Some(CutManner::Connection),
    malformed: Some(MalformedManner::Truncated),
};

#[test]
fn openai_for_python() {
    Pool::start(USUAL).drive("python/bin/python", "python/openai_cases.py");
}

#[test]
fn google_genai_for_python() {
    Pool::start(USUAL).drive("python/bin/python", "python/google_cases.py");
}

#[test]
fn google_genai_for_python_meets_raw_errors_at_the_end_of_streams() {
    let manners = Manners { error_event: Some(ErrorManner::RawTail), ..USUAL };
    Pool::start(manners).drive("python/bin/python", "python/google_cases.py");
}

#[test]
fn langchain() {
    Pool::start(USUAL).drive("python/bin/python", "python/langchain_cases.py");
}

#[test]
fn openai_for_javascript() {
    Pool::start(USUAL).drive("node/bin/node", "node/openai_cases.mjs");
}

#[test]
fn google_genai_for_javascript() {
    Pool::start(USUAL).drive("node/bin/node", "node/google_cases.mjs");
}
