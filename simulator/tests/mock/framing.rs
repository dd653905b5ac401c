//! Streams as bytes: how they are framed, and when they go out.

use futures_util::FutureExt;
use serde_json::{Value, json};
use stormproof_router::core::{Duration, Ending, Facts, Timestamp, Transport};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::mock::{Manners, Mock, Wish};
use stormproof_simulator::study::Case;
use stormproof_simulator::world::{Change, Faults, Latency, Pace, Per, Reply, Scripted};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::http::{Answer, Ask, End};
use crate::pool;

const SSE: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent";

fn ask(path: &str, output: u32) -> Ask {
    let prompt = Wish { output: Some(output), ..Wish::default() }.to_string();
    Ask::post(path, &json!({"contents": [{"parts": [{"text": prompt}]}]})).google("mock-gemini-01")
}

/// Ten seconds an answer, half of them before the first byte.
fn slow() -> Case {
    pool::case(|world| {
        for upstream in &mut world.upstreams {
            upstream.latency = Latency { shape: Shape::Fixed(10.0), tokens_per_s: None, per: Per::Attempt };
            upstream.pace = Pace { first_byte: 0.5, chunk_tokens: 25 };
        }
    })
}

/// Waits until the mock has taken that many calls.
async fn taken(mock: &Mock, calls: usize) {
    while mock.calls(0, calls).len() < calls {
        tokio::task::yield_now().await;
    }
}

/// Everything that is there without time passing: what a mock owes by now it sends without being asked twice.
async fn there(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The runtime has one thread: after so many turns every other task that could run has run.
    for _ in 0..200 {
        tokio::task::yield_now().await;
        let mut piece = [0; 4096];
        match stream.try_read(&mut piece) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(_would_block) => {
                // Asking the socket lets the runtime look at it.
                let _looked = stream.ready(Interest::READABLE).now_or_never();
            }
        }
    }
    bytes
}

#[tokio::test]
async fn events_are_framed_as_googles() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let answer = ask(SSE, 100).answer(mock.address()).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("content-disposition"), Some("attachment"));
    assert!(answer.header("server-timing").is_some_and(|timing| timing.starts_with("gfet4t7; dur=")));
    let text = answer.text();
    assert!(text.ends_with("\r\n\r\n") && !text.contains("[DONE]") && !text.contains("\n:"), "{text}");
    let events: Vec<&str> = text.strip_suffix("\r\n\r\n").expect("an end").split("\r\n\r\n").collect();
    assert_eq!(events.len(), 4, "100 tokens at 25 a chunk");
    let mut output = 0;
    for (index, event) in events.iter().enumerate() {
        let data = event.strip_prefix("data: ").expect("nothing but data");
        assert!(!data.contains(['\r', '\n']) && data.starts_with("{\"candidates\": [{\"content\": {"), "{data}");
        let event: Value = serde_json::from_str(data).expect("JSON");
        let counts = &event["usageMetadata"];
        let now = counts["candidatesTokenCount"].as_u64().expect("a count");
        assert!(now > output, "counts grow");
        output = now;
        assert_eq!(counts["thoughtsTokenCount"], 25, "the thinking was over before the first event");
        assert_eq!(event["candidates"][0]["finishReason"].as_str(), (index == 3).then_some("STOP"));
    }
    assert_eq!(output, 75);
}

#[tokio::test]
async fn an_array_is_framed_as_googles() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let answer = ask(ARRAY, 50).answer(mock.address()).await;
    assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
    let text = answer.text();
    assert!(text.starts_with("[{\n  \"candidates\": [\n") && text.ends_with("}\n]\n"), "{text}");
    assert_eq!(text.matches("}\n,\r\n{").count(), 1);
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_whole_answer_is_pretty_and_its_length_is_known() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let answer = ask("/v1beta/models/gemini-2.5-pro:generateContent", 50).answer(mock.address()).await;
    let text = answer.text();
    assert!(text.starts_with("{\n  \"candidates\": [\n") && text.ends_with("}\n"), "{text}");
    assert_eq!(answer.header("content-length"), Some(text.len().to_string().as_str()));
}

#[tokio::test]
async fn chat_chunks_end_with_their_counts_and_done() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "mock:output=50"}], "stream": true,
        "stream_options": {"include_usage": true}});
    let answer = Ask::post("/v1/chat/completions", &body).bearer("mock-openai-01").answer(mock.address()).await;
    let text = answer.text();
    let events: Vec<&str> = text.strip_suffix("\n\n").expect("an end").split("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    let chunk = |index: usize| -> Value { serde_json::from_str(&events[index][6..]).expect("JSON") };
    assert_eq!(chunk(0)["choices"][0]["delta"]["role"], "assistant");
    let usage = chunk(events.len() - 2);
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(50)));
    assert_eq!(chunk(events.len() - 3)["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn nothing_goes_out_before_its_time() {
    let case = slow();
    let mock = pool::standing(&case, Manners::default()).await;
    let mut stream = ask(SSE, 75).send(mock.address()).await;
    taken(&mock, 1).await;
    mock.advance(Duration::from_millis(4_999));
    assert_eq!(there(&mut stream).await, b"", "the head waits for the first event");
    mock.advance(Duration::from_millis(1));
    let first = String::from_utf8(there(&mut stream).await).expect("text");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert_eq!(first.matches("data: ").count(), 1);
    mock.advance(Duration::from_millis(2_499));
    assert_eq!(there(&mut stream).await, b"");
    mock.advance(Duration::from_millis(1));
    let second = String::from_utf8(there(&mut stream).await).expect("text");
    assert_eq!((second.matches("data: ").count(), second.matches("STOP").count()), (1, 0));
    mock.advance(Duration::from_secs(3));
    let mut last = String::new();
    stream.read_to_string(&mut last).await.expect("an end");
    assert!(last.contains("STOP") && last.ends_with("0\r\n\r\n"), "{last}");
    let seen = mock.calls(0, 1).remove(0);
    assert_eq!((seen.at_s, seen.end_s.is_some_and(|end| end >= 10.0), seen.left), (0.0, true, false));
}

#[tokio::test]
async fn a_stall_is_silence_and_a_hang_is_nothing_at_all() {
    let none = Faults::default();
    for (faults, events) in [(Faults { stall: 1.0, ..none }, 2), (Faults { hang: 1.0, ..none }, 0)] {
        let mut case = slow();
        case.day.world.upstreams[0].faults = faults;
        let mock = pool::standing(&case, Manners::default()).await;
        let mut stream = ask(SSE, 100).send(mock.address()).await;
        taken(&mock, 1).await;
        mock.advance(Duration::from_secs(86_400));
        let bytes = there(&mut stream).await;
        assert_eq!(String::from_utf8_lossy(&bytes).matches("data: ").count(), events);
        assert_eq!(mock.calls(0, 1)[0].end_s, None, "it is still open");
        drop(stream);
        while !mock.calls(0, 1)[0].left {
            tokio::task::yield_now().await;
        }
    }
}

/// A fixed reply without a stream of its own meets every kind of call.
#[tokio::test]
async fn a_fixed_break_meets_whole_answers_too() {
    let case = pool::case(|_| {});
    for (transport, end, status) in
        [(Transport::Cut, End::Cut, 200), (Transport::Reset, End::Reset, 0), (Transport::ErrorEvent, End::Whole, 200)]
    {
        let mock = pool::standing(&case, Manners::default()).await;
        let reply = Reply { after: Duration::ZERO, ending: Ending::Transport(transport), facts: Facts::default() };
        let scripted =
            Scripted { from: Timestamp::ZERO, until: Timestamp::MAX, key: None, upstream: None, times: Some(1), reply };
        mock.change(&[Change::Reply { scripted }]);
        let generate = ask("/v1beta/models/gemini-2.5-pro:generateContent", 50);
        let answer = generate.answer(mock.address()).await;
        assert_eq!((answer.status, answer.end), (status, end), "{transport:?}");
        assert_eq!(generate.answer(mock.address()).await.status, 200, "it was fixed for one call");
    }
}

/// Several calls over one connection, as libraries make them.
#[tokio::test]
async fn a_connection_is_kept() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let mut stream = TcpStream::connect(mock.address()).await.expect("the mock listens");
    for _ in 0..2 {
        let request = "GET /v1beta/models HTTP/1.1\r\nhost: mock\r\nx-goog-api-key: mock-gemini-01\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        let mut bytes = Vec::new();
        while Answer::of(&bytes, false).end != End::Whole {
            assert!(stream.read_buf(&mut bytes).await.expect("an open connection") > 0);
        }
    }
    assert_eq!(mock.calls(0, 10).len(), 2);
}
