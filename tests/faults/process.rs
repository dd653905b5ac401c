//! `stormproof serve` as a process: started, asked, killed, and searched for secrets.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::watch;

/// What every secret begins with; nothing but a provider may ever see it.
pub(crate) const SECRET: &str = "hush-hush-";
/// No limits.
pub(crate) const FREELY: &str = "true";
const ADMIN: &str = "hush-hush-admin";

/// However busy the machine is, nothing takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a configuration and a log.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// What a shell does before it becomes the process.
    limits: &'static str,
    /// How much the process says.
    verbosity: &'static str,
}

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    news: watch::Receiver<usize>,
    pub(crate) front: SocketAddr,
    pub(crate) admin: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// An answer of the proxy.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
    /// Whether the body ended in order.
    pub(crate) whole: bool,
}

impl Site {
    /// Two free keys with projects of their own, `rpd` requests a day each, and a paid one behind them.
    pub(crate) fn new(provider: SocketAddr, rpd: u32, extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "
listen: 127.0.0.1:0
admin: {{listen: \"127.0.0.2:0\", token: {{env: ADMIN}}}}
log: {{dir: \"{log}\"{extra}}}
drain: 20s
deadlines: {{header: x-deadline, min: 100ms}}
providers:
  gemini: {{dialect: gemini, base_url: \"http://{provider}\"}}
keys:
  free: {{provider: gemini, secrets: {{env: FREE}}, expect: 2, projects: separate}}
  paid: {{provider: gemini, secrets: {{env: PAID}}, projects: shared}}
tiers:
  free: {{keys: free, upstream: g-free, limits: {{rpm: 100k, rpd: {rpd}}}, price: free}}
  paid: {{keys: paid, upstream: g-paid, limits: {{rpm: 100k}}, price: 1 USD/answer, budget: 50000 USD/day, timeouts: {{total: 60s}}}}
models:
  m: {{tiers: [free, paid], deadline: 60s}}
  paid: {{tiers: [paid], deadline: 60s}}
",
            log = folder.path().join("log").display(),
        );
        std::fs::write(folder.path().join("stormproof.yaml"), text).expect("written");
        Self { folder, limits: FREELY, verbosity: "info" }
    }

    /// The same under these limits, as a shell sets them.
    pub(crate) fn limited(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    /// The same, and the process says everything that it can.
    pub(crate) fn verbose(self) -> Self {
        Self { verbosity: "trace", ..self }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// Changes the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.folder.path().join("stormproof.yaml");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains(from), "{from} is in it");
        std::fs::write(&path, text.replace(from, to)).expect("written");
    }

    /// Starts a proxy and waits until it serves.
    pub(crate) async fn serve(&self) -> Proxy {
        let mut proxy = self.spawn();
        proxy.begun().await;
        proxy
    }

    /// Starts a proxy that may not come to serve.
    pub(crate) fn spawn(&self) -> Proxy {
        Proxy::spawn(self.command(""))
    }

    /// Starts a proxy with these sockets, as a service manager hands them over. It may have to wait for the log.
    pub(crate) fn serve_on(&self, front: OwnedFd, admin: OwnedFd) -> Proxy {
        let mut command = self.command("LISTEN_FDS=2 LISTEN_PID=$$");
        command.stdin(front).stdout(admin);
        Proxy::spawn(command)
    }

    /// Asks every key for its models, as a command does.
    pub(crate) async fn check_keys(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stormproof"));
        command.args(["check", "--keys"]).arg(self.folder.path().join("stormproof.yaml"));
        secrets(&mut command);
        let checking = tokio::task::spawn_blocking(move || command.output());
        checking.await.expect("no panic").expect("it runs")
    }

    /// The command, under this site's limits; its standard input and output become sockets 3 and 4.
    fn command(&self, variables: &str) -> Command {
        let script = format!(r#"{limits}; {variables} exec "$0" "$@" 3<&0 4>&1 </dev/null"#, limits = self.limits);
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_stormproof"), "serve", "--config"])
            .arg(self.folder.path().join("stormproof.yaml"))
            .env("RUST_LOG", self.verbosity)
            .stdin(Stdio::null());
        secrets(&mut command);
        command
    }

    /// No secret stands anywhere in the log's folder.
    pub(crate) fn keeps_its_secrets(&self) {
        let mut seen = 0;
        for entry in std::fs::read_dir(self.log()).expect("a folder") {
            let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
            assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "a secret is in the log");
            seen += bytes.len();
        }
        assert!(seen > 0, "there is a log to search");
    }

    /// The size of the log on disk, in bytes.
    pub(crate) fn log_size(&self) -> u64 {
        let entries = std::fs::read_dir(self.log()).expect("a folder");
        entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

/// Gives a command the secrets of a site.
fn secrets(command: &mut Command) {
    command
        .env("ADMIN", ADMIN)
        .env("FREE", format!("{SECRET}free-1,{SECRET}free-2"))
        .env("PAID", format!("{SECRET}paid"));
}

impl Proxy {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (news, heard) = watch::channel(0);
        let (lines, kept) = (child.stderr.take().expect("piped"), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let count = {
                    let mut kept = kept.lock().expect("no panic");
                    kept.push(line);
                    kept.len()
                };
                news.send_replace(count);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { child, said, news: heard, front: unknown, admin: unknown, http }
    }

    /// Waits until it serves clients and operators.
    pub(crate) async fn begun(&mut self) {
        self.serves().await;
        self.admin = address_in(&self.says("operators are served").await);
    }

    /// Waits until it serves clients.
    pub(crate) async fn serves(&mut self) {
        self.front = address_in(&self.says("\"serving\"").await);
    }

    /// Waits for a line with this in it.
    pub(crate) async fn says(&self, words: &str) -> String {
        self.says_for_the(1, words).await
    }

    /// Waits for the n-th such line.
    pub(crate) async fn says_for_the(&self, times: usize, words: &str) -> String {
        let mut news = self.news.clone();
        let heard = async {
            loop {
                let found = self.said().into_iter().filter(|line| line.contains(words)).nth(times - 1);
                match found {
                    Some(line) => return Some(line),
                    None => news.changed().await.ok()?,
                }
            }
        };
        let line = tokio::time::timeout(PATIENCE, heard).await.expect("it says so in time");
        line.unwrap_or_else(|| panic!("it ended without saying `{words}`:\n{}", self.said().join("\n")))
    }

    /// Everything that it has said.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let said = Arc::clone(&self.said);
        let waiting = tokio::task::spawn_blocking(move || self.child.wait());
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        ended
            .unwrap_or_else(|_| panic!("it does not end:\n{}", said.lock().expect("no panic").join("\n")))
            .expect("no panic")
            .expect("a status")
    }

    /// The process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Its memory at present, in MiB.
    pub(crate) fn memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
    }

    /// Neither did anything panic, nor does a secret stand in what it said.
    pub(crate) fn is_sound(&self) {
        for line in self.said() {
            assert!(!line.contains("panicked"), "{line}");
            assert!(!line.contains(SECRET), "a secret is said");
        }
    }

    /// One call of the client with this token.
    pub(crate) async fn call_as(&self, token: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(if body.is_empty() { Method::GET } else { Method::POST })
            .uri(format!("http://{}{path}", self.front))
            .header("authorization", format!("Bearer {token}"))
            .header("x-deadline", "1s")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        self.send(request).await.expect("an answer")
    }

    /// One call of a client; an error when the connection broke before an answer began.
    pub(crate) async fn call(&self, path: &str, deadline: &str, body: &str) -> Result<Answer, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.front))
            .header("x-deadline", deadline)
            .body(Full::from(body.to_owned()))
            .expect("a request");
        self.send(request).await
    }

    /// Asks model `m` for a whole answer.
    pub(crate) async fn ask(&self, deadline: &str) -> Answer {
        self.call("/v1beta/models/m:generateContent", deadline, ASK).await.expect("an answer")
    }

    /// What clients read at this path.
    pub(crate) async fn read(&self, path: &str) -> Answer {
        let request = Request::builder().uri(format!("http://{}{path}", self.front));
        self.send(request.body(Full::default()).expect("a request")).await.expect("an answer")
    }

    /// What operators see at this path.
    pub(crate) async fn look(&self, path: &str) -> Answer {
        let request = Request::builder()
            .uri(format!("http://{}{path}", self.admin))
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(Full::default())
            .expect("a request");
        self.send(request).await.expect("an answer")
    }

    /// `/status`.
    pub(crate) async fn status(&self) -> Value {
        let answer = self.look("/status").await;
        assert!(!answer.body.contains(SECRET), "a secret is shown");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let answered = tokio::time::timeout(PATIENCE, async {
            let (head, mut body) = self.http.request(request).await.map_err(|error| format!("{error:?}"))?.into_parts();
            let (mut bytes, mut whole) = (Vec::new(), true);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Err(_) => {
                        whole = false;
                        break;
                    }
                }
            }
            let body = String::from_utf8(bytes).expect("text");
            assert!(!body.contains(SECRET), "a secret is answered: {body}");
            Ok(Answer { status: head.status, headers: head.headers, body, whole })
        });
        answered.await.unwrap_or_else(|_| panic!("an accepted request does not end"))
    }
}

/// The address in a line of its log.
fn address_in(line: &str) -> SocketAddr {
    let line: Value = serde_json::from_str(line).expect("JSON lines");
    line["fields"]["address"].as_str().expect("an address").parse().expect("an address")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A question in Gemini's dialect.
pub(crate) const ASK: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;

/// The tier of that name in a `/status`.
pub(crate) fn tier<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["tiers"].as_array().and_then(|tiers| tiers.iter().find(|tier| tier["name"] == name)).expect("the tier")
}
