//! A provider that behaves as each test wants, down to the bytes on its sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::PATIENCE;

/// What it does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Answers with this status and body.
    Say(u16, String),
    /// Streams so many events and ends in order.
    Stream(usize),
    /// Streams an event, and the rest once it is told to.
    StreamWhenTold(watch::Receiver<bool>),
    /// Streams one event after the other for as long as somebody reads.
    StreamForever,
    /// Sends these bytes, whatever they mean, and closes.
    Raw(Vec<u8>),
    /// Sends these bytes, then nothing, and does not close.
    RawThenSilence(Vec<u8>),
    /// Sends the first bytes, then the second ones for as long as somebody reads.
    RawForever(Vec<u8>, Vec<u8>),
    /// Resets the connection.
    Reset,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its address.
    pub(crate) path: String,
    /// The key that it shows.
    pub(crate) key: String,
}

type Behaviour = Box<dyn FnMut(&Call) -> Deed + Send + Sync>;

/// A provider on a port of its own.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

/// What a provider has seen.
pub(crate) struct State {
    behaviour: Behaviour,
    pub(crate) calls: Vec<Call>,
    /// Connections that are open now.
    pub(crate) open: usize,
}

pub(crate) const ANSWER: &str = r#"{"candidates": [{"content": {"parts": [{"text": "hello"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 3,"candidatesTokenCount": 2,"totalTokenCount": 5}}"#;

/// What a provider streams before its last event.
pub(crate) const EVENT: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"word \"}],\"role\": \"model\"},\"index\": 0}]}\r\n\r\n";

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

impl Provider {
    /// One that answers every call well, whole or as a short stream.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let state = State { behaviour: Box::new(good), calls: Vec::new(), open: 0 };
        let address = listener.local_addr().expect("an address");
        let provider = Self { address, state: Arc::new(watch::Sender::new(state)) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move {
                    provider.with(|state| state.open += 1);
                    // A client that has gone ends the connection.
                    let _ = provider.connection(stream).await;
                    provider.with(|state| state.open -= 1);
                });
            }
        });
        provider
    }

    /// From now on it does this.
    pub(crate) fn does(&self, behaviour: impl FnMut(&Call) -> Deed + Send + Sync + 'static) {
        self.with(|state| state.behaviour = Box::new(behaviour));
    }

    /// From now on it answers every call well.
    pub(crate) fn is_good(&self) {
        self.does(good);
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.borrow().calls.clone()
    }

    /// Waits until it has seen what the test waits for.
    pub(crate) async fn until(&self, seen: impl FnMut(&State) -> bool) {
        let mut states = self.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, states.wait_for(seen)).await;
        waited.expect("it comes in time").expect("the provider lives");
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut seen = None;
        self.state.send_modify(|state| seen = Some(look(state)));
        seen.expect("it was looked at")
    }

    async fn connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut held = Vec::new();
        loop {
            let Some(call) = read_call(&mut stream, &mut held).await? else { return Ok(()) };
            let deed = self.with(|state| {
                state.calls.push(call.clone());
                (state.behaviour)(&call)
            });
            match deed {
                Deed::Say(status, body) => {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
                    );
                    stream.write_all((head + &body).as_bytes()).await?;
                }
                Deed::Stream(events) => {
                    let mut text = String::from(STREAM_HEAD);
                    (0..events).for_each(|_| text += &chunk(EVENT));
                    text += &chunk(&format!("data: {ANSWER}\r\n\r\n"));
                    stream.write_all((text + "0\r\n\r\n").as_bytes()).await?;
                }
                Deed::StreamWhenTold(mut told) => {
                    stream.write_all((STREAM_HEAD.to_owned() + &chunk(EVENT)).as_bytes()).await?;
                    // A test that has ended tells nothing any more.
                    let _ = told.wait_for(|told| *told).await;
                    let last = chunk(&format!("data: {ANSWER}\r\n\r\n"));
                    stream.write_all((last + "0\r\n\r\n").as_bytes()).await?;
                }
                Deed::StreamForever => {
                    stream.write_all(STREAM_HEAD.as_bytes()).await?;
                    let events = chunk(EVENT).repeat(100);
                    loop {
                        stream.write_all(events.as_bytes()).await?;
                    }
                }
                Deed::Raw(bytes) => {
                    stream.write_all(&bytes).await?;
                    return stream.shutdown().await;
                }
                Deed::RawThenSilence(bytes) => {
                    stream.write_all(&bytes).await?;
                    // Nothing more comes from a client that waits; its end does.
                    stream.read_u8().await?;
                }
                Deed::RawForever(first, then) => {
                    stream.write_all(&first).await?;
                    loop {
                        stream.write_all(&then).await?;
                    }
                }
                Deed::Reset => {
                    stream.set_zero_linger()?;
                    return Ok(());
                }
            }
        }
    }
}

/// A chunk of a body.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn good(call: &Call) -> Deed {
    if call.path.contains("streamGenerateContent") { Deed::Stream(5) } else { Deed::Say(200, ANSWER.to_owned()) }
}

/// Reads one call with its body; `None` at the connection's end.
async fn read_call(stream: &mut TcpStream, held: &mut Vec<u8>) -> std::io::Result<Option<Call>> {
    let end = loop {
        if let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&held[..end]).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while held.len() < end + length {
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
    held.drain(..end + length);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Some(Call { path, key: header("x-goog-api-key").unwrap_or_default() }))
}
