//! A client that hides nothing: raw HTTP/1.1 over one socket, with the exact bytes of the body and how it ended.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As announced.
    Whole,
    /// The connection closed in the middle of the body.
    Cut,
    /// The connection was reset.
    Reset,
}

/// A request, in words.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub line: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Ask {
    /// `POST PATH` with this body.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self { line: format!("POST {path}"), headers: Vec::new(), body: body.to_string() }
    }

    /// `GET PATH`.
    pub(crate) fn get(path: &str) -> Self {
        Self { line: format!("GET {path}"), headers: Vec::new(), body: String::new() }
    }

    /// With Google's header for a key.
    pub(crate) fn google(self, secret: &str) -> Self {
        self.header("x-goog-api-key", secret)
    }

    /// With a bearer token.
    pub(crate) fn bearer(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn text(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let Self { line, body, .. } = self;
        format!(
            "{line} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends it over a connection of its own and does not read yet.
    pub(crate) async fn send(&self, address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("the mock listens");
        stream.write_all(self.text().as_bytes()).await.expect("the mock reads");
        stream
    }

    /// Sends it and reads to the end.
    pub(crate) async fn answer(&self, address: SocketAddr) -> Answer {
        let mut stream = self.send(address).await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        Answer::of(&bytes, read.is_err())
    }

    /// The JSON of the answer, which must have this status.
    pub(crate) async fn json(&self, address: SocketAddr, status: u16) -> Value {
        let answer = self.answer(address).await;
        assert_eq!((answer.status, answer.end), (status, End::Whole), "{}", answer.text());
        answer.json()
    }
}

impl Answer {
    /// Reads what came over a connection that has ended, with an error if `broken`.
    pub(crate) fn of(bytes: &[u8], broken: bool) -> Self {
        let Some(split) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self { status: 0, headers: Vec::new(), body: Vec::new(), end: End::Reset };
        };
        let head = std::str::from_utf8(&bytes[..split]).expect("a head in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let rest = &bytes[split + 4..];
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let length =
            headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        let (body, whole) = match chunked {
            true => unchunked(rest),
            false => (rest.to_vec(), length.is_some_and(|length: usize| length == rest.len())),
        };
        let end = match (whole, broken) {
            (true, _) => End::Whole,
            (false, true) => End::Reset,
            (false, false) => End::Cut,
        };
        Self { status, headers, body, end }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The chunks' content, and whether the last one came.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        let end = (line + 2 + size).min(rest.len());
        body.extend_from_slice(&rest[line + 2..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    (body, false)
}
