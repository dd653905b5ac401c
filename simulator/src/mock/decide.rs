//! One call: who it is from, what it asks, and what comes of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::request::Parts;
use serde_json::Value;
use stormproof_router::core::{
    Ending, Endpoint, Facts, KeyId, Reason, Settings, Timestamp, UpstreamId, WallTime, draw,
};
use stormproof_router::wire::render::{Surface, Wording};
use stormproof_router::wire::{self, Asked, ClientError, Dialect, Flavor, Front, Peek};

use super::address::{Address, Api, Verb};
use super::ask::{Ask, Refused, check_window, embed, gemini, open_ai};
use super::caller::{self, Directory, Shown};
use super::keys::{self, KeyRing};
use super::order::{Content, Order};
use super::records::Record;
use super::said::Said;
use super::script::{self, Script, Speaker};
use super::sky::{Granted, Question, Sky};
use super::write::gemini::House;
use super::write::open_ai::Style;
use super::write::{Label, embeddings, lists, pretty};
use crate::world::{Spec, Ticket};

/// Gemini's bound for a request that holds its blobs itself.
const GEMINI_BODY_MAX: usize = 20 << 20;

/// The shortest deadline that Gemini accepts.
const SERVER_TIMEOUT_MIN: u64 = 10;

/// Separates the ids of answers from everything else that is drawn.
const ANSWER_IDS: u64 = 0x6d6f_636b;

/// The providers of a scenario.
#[derive(Debug)]
pub(super) struct Providers {
    pub(super) sky: Sky,
    pub(super) settings: std::sync::Arc<Settings>,
    /// As they were at the start: which words belong to whom does not change.
    pub(super) spec: Spec,
    pub(super) keys: KeyRing,
    pub(super) start: WallTime,
    pub(super) seed: u64,
    pub(super) answers: AtomicU64,
}

/// What was decided on a call.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) script: Script,
    pub(super) api: Option<Api>,
    /// When it arrived.
    pub(super) at: Timestamp,
    /// The number of its record.
    pub(super) number: u64,
    /// By which the world is told that the caller has left.
    pub(super) ticket: Option<Ticket>,
}

/// A call that an API has accepted, on its way to the world.
struct Accepted {
    upstream: UpstreamId,
    model: String,
    endpoint: Endpoint,
    stream: bool,
    input: u32,
    output: u32,
    turn: u64,
    content: Content,
}

/// What a call may have told before it was refused.
#[derive(Default)]
struct Known {
    key: Option<KeyId>,
    upstream: Option<UpstreamId>,
    model: Option<String>,
}

impl Providers {
    /// Decides on a call that has just arrived.
    pub(super) fn decide(&self, head: &Parts, body: &[u8], peer: IpAddr) -> Decision {
        let query = head.uri.query().unwrap_or_default();
        let shown = Shown::of(&head.headers, query);
        let Some(address) = Address::of(&head.method, &head.uri, shown.bearer.is_some()) else {
            return self.no_such_path(head, &shown);
        };
        let mut known = Known { model: address.model.clone(), ..Known::default() };
        let accepted = self.accept(&address, head, body, &shown, &mut known);
        match accepted {
            Ok((key, accepted)) => self.ask_the_world(&address, head, key, accepted, peer),
            Err(refused) => self.refuse(&address, head, &shown, &known, &refused),
        }
    }

    fn directory(&self) -> Directory<'_> {
        Directory { settings: &self.settings, spec: &self.spec }
    }

    /// Reads a call as far as an API does before the model sees it.
    fn accept(
        &self,
        address: &Address,
        head: &Parts,
        body: &[u8],
        shown: &Shown,
        known: &mut Known,
    ) -> Result<(KeyId, Accepted), Refused> {
        let directory = self.directory();
        let key = caller::key(address.api, shown, &self.keys, &directory)?;
        known.key = Some(key);
        let provider = directory.provider(key);
        let google = matches!(address.api, Api::Gemini | Api::Vertex);
        if google {
            check_head(head, body)?;
        }
        let mut find = |model: &str| {
            known.model = Some(model.to_owned());
            let found = directory.find(provider, model)?;
            known.upstream = Some(found);
            Ok::<UpstreamId, Refused>(found)
        };
        let named = address.model.as_deref().unwrap_or_default();
        let house = if address.api == Api::Vertex { House::Vertex } else { House::Gemini };
        let accepted = match address.verb {
            Verb::Generate | Verb::Stream(_) => {
                let upstream = find(named)?;
                let framing = if let Verb::Stream(framing) = address.verb { Some(framing) } else { None };
                let ask = gemini::generate(body, named)?;
                let make = |said| Content::Gemini { said, house, framing };
                self.generate(upstream, named, &ask, framing.is_some(), make)?
            }
            Verb::Chat => {
                let chat = open_ai::chat(body)?;
                let upstream = find(&chat.model)?;
                let style = self.style(address.api, upstream);
                let open_ai::Chat { model, stream, include_usage, ask } = chat;
                let make = |said| Content::Chat { said, style, stream, include_usage };
                self.generate(upstream, &model, &ask, stream, make)?
            }
            Verb::Responses => {
                let open_ai::Chat { model, stream, ask, .. } = responses(body)?;
                let upstream = find(&model)?;
                self.generate(upstream, &model, &ask, stream, |said| Content::Responses { said, stream })?
            }
            Verb::Count => {
                let upstream = find(named)?;
                let input = gemini::count(body)?;
                written(upstream, named, Endpoint::Count, input, 0, pretty(&lists::count(input)))
            }
            Verb::EmbedOne => {
                let upstream = find(named)?;
                let asked = embed::one(body)?;
                embedded(upstream, named, &asked, pretty(&embeddings::one(&asked, named)))
            }
            Verb::EmbedMany => {
                let upstream = find(named)?;
                let asked = embed::many(body)?;
                embedded(upstream, named, &asked, pretty(&embeddings::many(&asked, named)))
            }
            Verb::Predict => {
                let upstream = find(named)?;
                let asked = embed::predict(body)?;
                embedded(upstream, named, &asked, pretty(&embeddings::predict(&asked, named)))
            }
            Verb::Embeddings => {
                let asked = embed::open_ai(body)?;
                let model = asked.model.clone().unwrap_or_default();
                let upstream = find(&model)?;
                let answer = embeddings::open_ai(&asked, &model).to_string().into_bytes();
                embedded(upstream, &model, &asked, answer)
            }
            Verb::Model => {
                let upstream = find(named)?;
                let answer = match address.api {
                    Api::Gemini | Api::Vertex => lists::gemini_model(named),
                    Api::Compat => lists::open_ai_model(named, "models/", "google"),
                    Api::OpenAi => lists::open_ai_model(named, "", "system"),
                };
                written(upstream, named, Endpoint::Count, 0, 0, pretty(&answer))
            }
            Verb::Models => {
                let names: Vec<&str> = directory.upstreams(provider).map(|(_, name)| name).collect();
                let answer = match address.api {
                    Api::Gemini | Api::Vertex => lists::gemini(&names, head.uri.query().unwrap_or_default()),
                    Api::Compat => lists::open_ai(&names, "models/", "google"),
                    Api::OpenAi => lists::open_ai(&names, "", "system"),
                };
                let upstream = self.any_upstream(key)?;
                written(upstream, "", Endpoint::Count, 0, 0, pretty(&answer))
            }
        };
        Ok((key, accepted))
    }

    fn generate(
        &self,
        upstream: UpstreamId,
        model: &str,
        ask: &Ask,
        stream: bool,
        content: impl FnOnce(Said) -> Content,
    ) -> Result<Accepted, Refused> {
        check_window(ask.input)?;
        let turn = ask.wish.turn.unwrap_or(ask.identity);
        let said = Said::to(ask, model, self.sky.usual_output(turn));
        Ok(Accepted {
            upstream,
            model: model.to_owned(),
            endpoint: Endpoint::Generate,
            stream,
            input: said.counts.input,
            output: said.counts.output(),
            turn,
            content: content(said),
        })
    }

    fn ask_the_world(&self, address: &Address, head: &Parts, key: KeyId, accepted: Accepted, peer: IpAddr) -> Decision {
        let Accepted { upstream, model, endpoint, stream, input, output, turn, content } = accepted;
        let question = Question { key, upstream, endpoint, stream, input, output, address: peer, turn };
        let Granted { at, plan, ticket, look, chunk_tokens } = self.sky.call(&question);
        let directory = self.directory();
        let name = &self.settings.keys[key.index()].name;
        let secret = keys::secret(name);
        let voice = directory.voice(address.api, Some(upstream), Some(key));
        let speaker = Speaker { voice, about: directory.about(Some(upstream), &model, &secret) };
        let order = Order { content, label: self.label(&model, at, voice.wording) };
        let pieces = output.div_ceil(chunk_tokens).max(1) as usize;
        let script = script::script(&plan, &order, speaker, look, pieces);
        let model = Some(model).filter(|model| !model.is_empty());
        let number = self.sky.record(Record {
            key: Some(name.clone()),
            stream,
            input,
            output,
            ..record(address, head, at, model, plan.ending)
        });
        Decision { script, api: Some(address.api), at, number, ticket: Some(ticket) }
    }

    fn refuse(&self, address: &Address, head: &Parts, shown: &Shown, known: &Known, refused: &Refused) -> Decision {
        let at = self.sky.clock.now();
        let directory = self.directory();
        let model = known.model.as_deref().unwrap_or_default();
        let voice = directory.voice(address.api, known.upstream, known.key);
        let about = directory.about(known.upstream, model, "");
        let script = match refused {
            Refused::Reason { status, reason } => {
                let facts = Facts { reason: Some(*reason), ..Facts::default() };
                script::refused(*status, &facts, Speaker { voice, about }, at)
            }
            Refused::Message(error) => message(error, voice.surface, at),
        };
        let key = match known.key {
            Some(key) => Some(self.settings.keys[key.index()].name.clone()),
            None => shown.any().map(|secret| self.keys.stranger(secret)),
        };
        let ending = Ending::Status(script.status);
        let number = self.sky.record(Record { key, ..record(address, head, at, known.model.clone(), ending) });
        Decision { script, api: Some(address.api), at, number, ticket: None }
    }

    fn no_such_path(&self, head: &Parts, shown: &Shown) -> Decision {
        let at = self.sky.clock.now();
        let problem = format!("Invalid URL ({} {})", head.method, head.uri.path());
        let script = message(&ClientError::new(404, problem), Surface::OpenAi, at);
        let number = self.sky.record(Record {
            number: 0,
            at_s: at.as_secs_f64(),
            key: shown.any().map(|secret| self.keys.stranger(secret)),
            model: None,
            what: format!("{} {}", head.method, head.uri.path()),
            stream: false,
            retry: None,
            answer: Ending::Status(404).into(),
            input: 0,
            output: 0,
            end_s: None,
            left: false,
        });
        Decision { script, api: None, at, number, ticket: None }
    }

    /// A model by which a key is tried that asks for none: one that nothing special is the matter with.
    fn any_upstream(&self, key: KeyId) -> Result<UpstreamId, Refused> {
        let directory = self.directory();
        let special: Vec<UpstreamId> = self
            .sky
            .look(|world, _| world.spec().keys[key.index()].deaths.iter().filter_map(|death| death.upstream).collect());
        let mut all = directory.upstreams(directory.provider(key)).map(|(id, _)| id);
        all.find(|id| !special.contains(id)).ok_or(Refused::Reason { status: 404, reason: Reason::ModelNotFound })
    }

    fn style(&self, api: Api, upstream: UpstreamId) -> Style {
        match self.directory().voice(api, Some(upstream), None).surface {
            Surface::GeminiCompat => Style::Compat,
            Surface::Mistral => Style::Mistral,
            Surface::Gemini | Surface::Vertex | Surface::CodeAssist | Surface::OpenAi => Style::OpenAi,
        }
    }

    fn label(&self, model: &str, at: Timestamp, wording: Wording) -> Label {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let wall = self.start + at.since(Timestamp::ZERO);
        Label {
            model: model.to_owned(),
            id: format!("{:016x}", draw(self.seed, ANSWER_IDS, number, 0)),
            created: wall.as_nanos() / 1_000_000_000,
            tells_tier: wording == Wording::Year2026,
        }
    }
}

/// What Google checks before it looks at the model.
fn check_head(head: &Parts, body: &[u8]) -> Result<(), Refused> {
    let timeout = head.headers.get("x-server-timeout").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(seconds) = timeout.filter(|seconds| *seconds < SERVER_TIMEOUT_MIN) {
        let problem = format!(
            "Manually set deadline {seconds}s is too short. Minimum allowed deadline is {SERVER_TIMEOUT_MIN}s."
        );
        return Err(Refused::Message(ClientError::new(400, problem)));
    }
    if body.len() > GEMINI_BODY_MAX {
        let problem = format!("Request payload size exceeds the limit: {GEMINI_BODY_MAX} bytes.");
        return Err(Refused::Message(ClientError::new(400, problem)));
    }
    Ok(())
}

/// A response request, read as the chat that it amounts to.
fn responses(body: &[u8]) -> Result<open_ai::Chat, Refused> {
    let refused = |refusal: &wire::Refusal| Refused::Message(ClientError::from(refusal));
    let peek = Peek::open_ai(body).map_err(|refusal| refused(&refusal))?;
    let model = peek.model.clone().unwrap_or_default().into_owned();
    let asked = Asked {
        model: &model,
        peek: &peek,
        stream: peek.stream,
        count_usage: false,
        flavor: Flavor::OpenAi,
        fetched: &[],
    };
    let chat = wire::request(Front::Responses, Dialect::OpenAi, body, &asked).map_err(|refusal| refused(&refusal))?;
    let chat = open_ai::chat(&chat)?;
    Ok(open_ai::Chat { stream: peek.stream, ..chat })
}

fn embedded(upstream: UpstreamId, model: &str, asked: &embed::Embed, answer: Vec<u8>) -> Accepted {
    written(upstream, model, Endpoint::Embed, asked.input, asked.identity, answer)
}

fn written(upstream: UpstreamId, model: &str, endpoint: Endpoint, input: u32, turn: u64, answer: Vec<u8>) -> Accepted {
    let content = Content::Written(answer);
    Accepted { upstream, model: model.to_owned(), endpoint, stream: false, input, output: 0, turn, content }
}

/// A refusal with a message of its own, in the form of an API's errors.
fn message(error: &ClientError, surface: Surface, at: Timestamp) -> Script {
    let front = match surface {
        Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => Front::Gemini,
        Surface::OpenAi | Surface::Mistral => Front::Chat,
    };
    let rendered = error.render(front);
    let value: Value = serde_json::from_str(&rendered.body).unwrap_or_default();
    let body = match surface {
        Surface::GeminiCompat | Surface::CodeAssist => pretty(&Value::Array(vec![value])),
        Surface::Mistral => {
            let kind = value.pointer("/error/type");
            pretty(&serde_json::json!({"object": "error", "message": error.message, "type": kind, "param": error.param,
                "code": null}))
        }
        Surface::Gemini | Surface::Vertex | Surface::OpenAi => rendered.body.into_bytes(),
    };
    Script {
        status: rendered.status,
        headers: rendered.headers,
        steps: vec![(at, body)],
        end: at,
        close: script::Close::Whole,
    }
}

fn record(address: &Address, head: &Parts, at: Timestamp, model: Option<String>, ending: Ending) -> Record {
    let retry = head.headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok()?.parse().ok());
    Record {
        number: 0,
        at_s: at.as_secs_f64(),
        key: None,
        model,
        what: format!("{:?} {:?}", address.api, address.verb),
        stream: matches!(address.verb, Verb::Stream(_)),
        retry,
        answer: ending.into(),
        input: 0,
        output: 0,
        end_s: None,
        left: false,
    }
}
