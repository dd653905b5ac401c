//! The real client libraries, in the versions pinned beside this file, driven against the mock and against the proxy in
//! front of it: each makes every call it knows and meets every failure, and raises its own right exception. What is
//! installed stays in `target/clients`.

mod aider;
#[expect(dead_code, reason = "the days over sockets need more of it")]
#[path = "../live/stage.rs"]
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use stormproof_simulator::mock::{CutManner, ErrorManner, MalformedManner, Manners, secret, token};
use stormproof_simulator::scenario::{Document, Embedded};
use tokio::runtime::{Builder, Runtime};

use self::stage::Stage;

/// Longer than any of them takes.
const PATIENCE_S: &str = "300";

/// What a library is driven against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The mock alone.
    Mock,
    /// The proxy in front of it.
    Serve,
    /// The same, asking for models whose providers speak the other dialect.
    Translated,
}

/// The pool with a runtime of its own.
struct Pool {
    runtime: Runtime,
    stage: Stage,
    mode: Mode,
}

impl Pool {
    fn start(mode: Mode, manners: Manners) -> Self {
        let document = Document::parse(include_str!("pool.yaml"), "pool.yaml", Embedded(&[])).expect("a good scenario");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let stage = runtime.block_on(Stage::open(&document, 1, 1, manners));
        Self { runtime, stage, mode }
    }

    /// Runs the cases of one library and fails with what they print.
    fn drive(self, program: &str, cases: &str) {
        let mock = self.stage.mock.address();
        let (address, mode) = match self.mode {
            Mode::Mock => (mock, "mock"),
            Mode::Serve => (self.stage.serving.address(), "serve"),
            Mode::Translated => (self.stage.serving.address(), "translated"),
        };
        let (chat, embedding, google_chat) = match self.mode {
            Mode::Mock | Mode::Serve => ("gpt-4o", "text-embedding-3-small:1536", "gemini-2.5-flash"),
            Mode::Translated => ("gemini-2.5-flash", "gemini-embedding-001:3072", "gpt-4o"),
        };
        let key = |name| if self.mode == Mode::Mock { secret(name) } else { token("someone") };
        let output = Command::new("timeout")
            .arg(PATIENCE_S)
            .arg(installed().join(program))
            .arg(runnable(cases))
            .env("MODE", mode)
            .env("CHAT", chat)
            .env("EMBEDDING", embedding)
            .env("GOOGLE_CHAT", google_chat)
            .env("OPENAI_BASE", format!("http://{address}/v1"))
            .env("COMPAT_BASE", format!("http://{mock}/v1beta/openai"))
            .env("GOOGLE_BASE", format!("http://{address}"))
            .env("OPENAI_KEY", key("openai-01"))
            .env("SPENT_KEY", secret("openai-02"))
            .env("MISTRAL_KEY", secret("mistral-01"))
            .env("GOOGLE_KEY", key("google-01"))
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
        self.runtime.block_on(self.stage.close());
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

macro_rules! libraries {
    ($mode:expr; $($name:ident: $program:literal $cases:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            Pool::start($mode, USUAL).drive($program, $cases);
        })+
    };
}

mod alone {
    use super::*;

    libraries! { Mode::Mock;
        openai_for_python: "python/bin/python" "python/openai_cases.py",
        google_genai_for_python: "python/bin/python" "python/google_cases.py",
        langchain: "python/bin/python" "python/langchain_cases.py",
        openai_for_javascript: "node/bin/node" "node/openai_cases.mjs",
        google_genai_for_javascript: "node/bin/node" "node/google_cases.mjs",
    }

    #[test]
    fn google_genai_for_python_meets_raw_errors_at_the_end_of_streams() {
        let manners = Manners { error_event: Some(ErrorManner::RawTail), ..USUAL };
        Pool::start(Mode::Mock, manners).drive("python/bin/python", "python/google_cases.py");
    }
}

mod through_the_proxy {
    use super::*;

    libraries! { Mode::Serve;
        openai_for_python: "python/bin/python" "python/openai_cases.py",
        google_genai_for_python: "python/bin/python" "python/google_cases.py",
        langchain: "python/bin/python" "python/langchain_cases.py",
        openai_for_javascript: "node/bin/node" "node/openai_cases.mjs",
        google_genai_for_javascript: "node/bin/node" "node/google_cases.mjs",
    }
}

mod translated_by_the_proxy {
    use super::*;

    libraries! { Mode::Translated;
        openai_for_python: "python/bin/python" "python/openai_cases.py",
        google_genai_for_python: "python/bin/python" "python/google_cases.py",
        langchain: "python/bin/python" "python/langchain_cases.py",
        openai_for_javascript: "node/bin/node" "node/openai_cases.mjs",
        google_genai_for_javascript: "node/bin/node" "node/google_cases.mjs",
    }
}
