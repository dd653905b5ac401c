//! The control address: what the mock has seen, and changes of its weather. For its operator alone, on the loopback
//! interface, with a token.
//!
//! | call | |
//! |---|---|
//! | `GET /` | the time, and how many calls each key had of each answer |
//! | `GET /calls?after=N` | the calls after that number, at most a thousand |
//! | `POST /world` | changes the world, see [`changes`](super::changes) |
//! | `POST /clock` | `{"advance": "1h"}` puts the time ahead |

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stormproof_router::config::{Node, Period, decode};
use stormproof_router::core::Timestamp;

use super::changes;
use super::decide::Providers;
use super::records::Answer;

/// Calls in one answer.
const CALLS_MAX: usize = 1000;

/// What answers on the control address.
#[derive(Debug)]
pub(super) struct Control {
    providers: Arc<Providers>,
    /// Compared as digests, so that the time it takes tells nothing of the token.
    token: [u8; 32],
}

/// A status and what to say with it.
type Said = (u16, Value);

impl Control {
    pub(super) fn new(providers: Arc<Providers>, token: &SecretString) -> Self {
        Self { providers, token: Sha256::digest(token.expose_secret()).into() }
    }

    /// Answers one call.
    pub(super) fn answer(&self, head: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let (status, value) = if self.is_known(head) {
            self.said(head, body)
        } else {
            (401, json!({"error": "say `Authorization: Bearer` and the token that was printed at the start"}))
        };
        let mut response = Response::new(Full::new(Bytes::from(format!("{value:#}\n"))));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn is_known(&self, head: &Parts) -> bool {
        let shown = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        shown.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == self.token)
    }

    fn said(&self, head: &Parts, body: &[u8]) -> Said {
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/") => (200, self.state()),
            (&Method::GET, "/calls") => self.calls(head.uri.query().unwrap_or_default()),
            (&Method::POST, "/world") => self.change(body),
            (&Method::POST, "/clock") => self.advance(body),
            (_, _) => (404, json!({"error": "there is GET / and /calls?after=N, POST /world and /clock"})),
        }
    }

    fn state(&self) -> Value {
        let now = self.providers.sky.clock.now();
        self.providers.sky.look(|_, records| {
            let (calls, totals) = records.totals();
            let mut keys: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
            for ((key, answer), count) in totals {
                let answer = match answer {
                    Answer::Status(status) => status.to_string(),
                    Answer::Broken(how) => (*how).to_owned(),
                };
                keys.entry(key).or_default().insert(answer, *count);
            }
            json!({"now_s": now.as_secs_f64(), "wall": self.wall(now), "calls": calls, "keys": keys})
        })
    }

    /// The scenario's wall time.
    fn wall(&self, now: Timestamp) -> String {
        let nanos = (self.providers.start + now.since(Timestamp::ZERO)).as_nanos();
        let wall = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
        wall.to_string()
    }

    fn calls(&self, query: &str) -> Said {
        let after = match query.split('&').find_map(|pair| pair.strip_prefix("after=")).unwrap_or("0").parse() {
            Ok(after) => after,
            Err(_no_number) => return (400, json!({"error": "`after` is the number of a call"})),
        };
        let calls = self.providers.sky.look(|_, records| records.since(after, CALLS_MAX));
        let last = calls.last().map_or(after, |call| call.number);
        (200, json!({"calls": calls, "last": last}))
    }

    fn change(&self, body: &[u8]) -> Said {
        let providers = &self.providers;
        let spec = providers.sky.look(|world, _| world.spec().clone());
        let text = String::from_utf8_lossy(body);
        match changes::read(&text, &providers.settings, &spec, providers.sky.clock.now()) {
            Ok(changes) => {
                providers.sky.change(&changes.world);
                if let Some(manners) = changes.manners {
                    providers.sky.set_manners(manners);
                }
                (200, json!({"changes": changes.world.len()}))
            }
            Err(errors) => (400, json!({"error": errors.to_string()})),
        }
    }

    fn advance(&self, body: &[u8]) -> Said {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Advance {
            advance: Period,
        }
        let origin = "clock".into();
        let read = Node::parse(&String::from_utf8_lossy(body), &origin).and_then(|node| decode(&node, &origin));
        match read {
            Ok(Advance { advance }) => {
                let clock = &self.providers.sky.clock;
                clock.advance(advance.0);
                (200, json!({"now_s": clock.now().as_secs_f64()}))
            }
            Err(errors) => (400, json!({"error": errors.to_string()})),
        }
    }
}
