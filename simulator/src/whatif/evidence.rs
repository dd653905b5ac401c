//! What a log says: the turns with their requests, every call to a provider with what came of it, and what else
//! happened to the router. Nothing here is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use stormproof_router::core::{
    Action, ClientId, Duration, Ending, Endpoint, Facts, Finished, Input, KeyId, ModelId, Outcome, Output, Priority,
    Route, Settings, Timestamp, Tokens, UpstreamId, Usage, Usd, Verdict, WallTime,
};
use stormproof_router::log::{Beginning, Event, Opened, ReadError, Reader, What};
use thiserror::Error;

use super::universe::{Numbers, Universe};
use crate::baselines::litellm::{LiteLlm, Options};
use crate::clients::Failure;
use crate::engine::bill;

/// Why a log cannot be asked.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody asked on that day.
    #[error("{log} holds no request; a day on which nobody asked has nothing to tell")]
    Silent {
        /// Which log.
        log: String,
    },
}

/// Everything that a log says.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) universe: Universe,
    /// The wall time of [`Timestamp::ZERO`].
    pub(super) epoch: WallTime,
    /// The policy that wrote it: `stormproof/1`.
    pub(super) policy: String,
    /// What LiteLLM was told, where that is who wrote it.
    pub(super) litellm: Option<Options>,
    /// The settings in force when the first turn began.
    pub(super) first: Configured,
    /// The settings that came into force after that, and when.
    pub(super) later: Vec<(Timestamp, Configured)>,
    /// What operators did about keys and quotas, in numbers of the universe.
    pub(super) orders: Vec<(Timestamp, Action)>,
    /// What they told the router beside that; it is not repeated.
    pub(super) orders_dropped: u64,
    pub(super) turns: Vec<Turn>,
    pub(super) calls: Vec<Call>,
    /// Of the first and the last thing that happened.
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Events that are known to be missing.
    pub(super) missing: u64,
}

/// Settings that came into force.
#[derive(Clone, Debug, Default)]
pub(super) struct Configured {
    pub(super) settings: Arc<Settings>,
    pub(super) numbers: Numbers,
    /// The keys that served anything then.
    pub(super) serving: BTreeSet<KeyId>,
}

/// One intention, with all its requests.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) shape: Shape,
    pub(super) estimate: Tokens,
    pub(super) requests: Vec<Request>,
    /// Calls to each upstream model so far.
    tries: BTreeMap<UpstreamId, u16>,
}

/// What turns have in common that are asked by like clients in a like way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) client: ClientId,
    pub(super) model: ModelId,
    /// Its place in [`Endpoint::ALL`], which can be put in order.
    pub(super) endpoint: u8,
    pub(super) stream: bool,
    pub(super) priority: Priority,
    /// To a tenth of a second: a live driver reads the clock between the two ends.
    pub(super) deadline: Duration,
    pub(super) output_max: Option<u32>,
}

/// One client call.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) at: Timestamp,
    /// When it ended, and how.
    pub(super) end: Option<(Timestamp, End)>,
    /// When its client went away.
    pub(super) cancelled: Option<Timestamp>,
}

/// How a client call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed(Outcome, Failure),
}

/// One call to a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Index of its turn.
    pub(super) turn: usize,
    pub(super) key: KeyId,
    pub(super) upstream: UpstreamId,
    /// Calls of that turn to that upstream model before.
    pub(super) nth: u16,
    pub(super) endpoint: Endpoint,
    pub(super) at: Timestamp,
    pub(super) first_byte: Option<Timestamp>,
    /// When it ended, and how; absent where the log ends first.
    pub(super) end: Option<(Timestamp, Ending)>,
    pub(super) facts: Facts,
    pub(super) usage: Option<Usage>,
    /// What was charged for it, by its price, and whether that was on a fallback.
    pub(super) spend: Usd,
    pub(super) fallback: bool,
}

impl Evidence {
    /// Reads a log from its first event to its last.
    pub(super) fn read(log: &Path) -> Result<Self, EvidenceError> {
        let mut reader = Reader::open(log)?;
        let header = reader.header();
        let mut evidence = Self {
            universe: Universe::default(),
            epoch: header.epoch,
            policy: header.policy.clone(),
            litellm: None,
            first: Configured::default(),
            later: Vec::new(),
            orders: Vec::new(),
            orders_dropped: 0,
            turns: Vec::new(),
            calls: Vec::new(),
            from: header.at,
            until: header.at,
            missing: 0,
        };
        evidence.configure(header.at, &Arc::clone(&header.settings));
        let mut open = InHand::default();
        while let Some(event) = reader.read()? {
            evidence.take(event, &mut open);
        }
        evidence.policy.clone_from(&reader.header().policy);
        if evidence.turns.is_empty() {
            return Err(EvidenceError::Silent { log: log.display().to_string() });
        }
        Ok(evidence)
    }

    fn configure(&mut self, at: Timestamp, settings: &Arc<Settings>) {
        let numbers = self.universe.number(settings);
        let serving = numbers.serving();
        let configured = Configured { settings: Arc::clone(settings), numbers, serving };
        if self.turns.is_empty() { self.first = configured } else { self.later.push((at, configured)) }
    }

    /// Whether a key was ever configured for an upstream model.
    pub(super) fn knows(&self, key: KeyId, upstream: UpstreamId) -> bool {
        let later = self.later.iter().map(|(_, configured)| configured);
        later.chain([&self.first]).any(|configured| configured.numbers.has(key, upstream))
    }

    fn current(&self) -> &Configured {
        self.later.last().map_or(&self.first, |(_, configured)| configured)
    }

    fn take(&mut self, event: Event, open: &mut InHand) {
        let Event { at, what, .. } = event;
        self.until = at;
        match what {
            What::Input(Input::Configured { settings }) => self.configure(at, &settings),
            What::Input(Input::Arrived(arrived)) => self.arrive(at, &arrived, open),
            What::Input(Input::FirstByte { attempt }) => {
                if let Some(call) = open.calls.get(&attempt.get()) {
                    self.calls[*call].first_byte = Some(at);
                }
            }
            What::Input(Input::Finished(finished)) => self.finish(at, &finished, open),
            What::Input(Input::Cancelled { request }) => {
                if let Some((turn, place)) = open.requests.get(&request.get()) {
                    self.turns[*turn].requests[*place].cancelled.get_or_insert(at);
                }
            }
            What::Input(Input::Operator { action, .. }) => match self.current().numbers.fact(&action) {
                Some(action) => self.orders.push((at, action)),
                None => self.orders_dropped += 1,
            },
            What::Output(Output::Dispatch(dispatch)) => {
                let Some((turn, _)) = open.requests.get(&dispatch.request.get()).copied() else { return };
                let Some((key, upstream)) = self.current().numbers.deployment(dispatch.deployment) else { return };
                let settings = Arc::clone(&self.current().settings);
                let tier = settings.deployments[dispatch.deployment.index()].tier;
                let shape = self.turns[turn].shape;
                let model = self.universe.model_in(&settings, shape.model).ok();
                let fallback = model.is_some_and(|model| settings.models[model.index()].tiers.first() != Some(&tier));
                let tries = self.turns[turn].tries.entry(upstream).or_default();
                let nth = *tries;
                *tries = tries.saturating_add(1);
                open.calls.insert(dispatch.attempt.get(), self.calls.len());
                open.prices.insert(dispatch.attempt.get(), settings.tiers[tier.index()].price);
                self.calls.push(Call {
                    turn,
                    key,
                    upstream,
                    nth,
                    endpoint: Endpoint::ALL[usize::from(shape.endpoint)],
                    at,
                    first_byte: None,
                    end: None,
                    facts: Facts::default(),
                    usage: None,
                    spend: Usd::ZERO,
                    fallback,
                });
            }
            What::Output(Output::Close { request, verdict }) => {
                if let Some((turn, place)) = open.requests.remove(&request.get()) {
                    self.turns[turn].requests[place].end = Some((at, End::of(&verdict)));
                }
            }
            What::Opened(Opened { router: Beginning::New(snapshot), .. }) => self.look_at(&snapshot),
            What::Checkpoint(checkpoint) if self.litellm.is_none() => self.look_at(&checkpoint.snapshot),
            What::Gap(gap) => self.missing += gap.events,
            What::Input(Input::Clock { .. } | Input::Woke)
            | What::Output(Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_))
            | What::Opened(_)
            | What::Boot(_)
            | What::Closed
            | What::Checkpoint(_) => {}
        }
    }

    /// A LiteLLM's options are in no settings, but in its state.
    fn look_at(&mut self, snapshot: &[u8]) {
        if self.policy.starts_with("litellm")
            && let Ok(router) = LiteLlm::restore(snapshot)
        {
            self.litellm = Some(router.options().clone());
        }
    }

    fn arrive(&mut self, at: Timestamp, arrived: &stormproof_router::core::Arrived, open: &mut InHand) {
        const TENTH: u64 = 100_000_000;
        let request = Request { at, end: None, cancelled: None };
        let fresh = self.turns.len();
        // A driver that knows of no turns calls them all 0.
        let turn = match arrived.turn.get() {
            0 => fresh,
            known => *open.turns.entry(known).or_insert(fresh),
        };
        if turn == fresh {
            let left = arrived.deadline.since(at).as_nanos();
            let endpoint = Endpoint::ALL.iter().position(|endpoint| *endpoint == arrived.endpoint);
            let (model, client) = self.current().numbers.asked(arrived.model, arrived.client);
            let shape = Shape {
                client,
                model,
                endpoint: endpoint.map_or(0, |place| place as u8),
                stream: arrived.stream,
                priority: arrived.priority,
                deadline: Duration::from_nanos((left + TENTH / 2) / TENTH * TENTH),
                output_max: arrived.tokens.output_max.map(Tokens::get),
            };
            let (estimate, tries) = (arrived.tokens.input, BTreeMap::new());
            self.turns.push(Turn { shape, estimate, requests: Vec::new(), tries });
        }
        open.requests.insert(arrived.request.get(), (turn, self.turns[turn].requests.len()));
        self.turns[turn].requests.push(request);
    }

    fn finish(&mut self, at: Timestamp, finished: &Finished, open: &mut InHand) {
        let Some(call) = open.calls.remove(&finished.attempt.get()) else { return };
        let price = open.prices.remove(&finished.attempt.get());
        let call = &mut self.calls[call];
        call.end = Some((at, finished.ending));
        (call.facts, call.usage) = (finished.facts, finished.usage);
        if let (Some(price), Some(usage)) = (price, finished.usage) {
            call.spend = bill(&price, usage, call.is_good());
        }
    }
}

/// What has begun and not ended at one place of the log.
#[derive(Default)]
struct InHand {
    turns: BTreeMap<u64, usize>,
    requests: BTreeMap<u64, (usize, usize)>,
    calls: BTreeMap<u64, usize>,
    prices: BTreeMap<u64, stormproof_router::core::Price>,
}

impl Turn {
    /// When it began.
    pub(super) fn at(&self) -> Timestamp {
        self.requests.first().map_or(Timestamp::ZERO, |request| request.at)
    }

    /// When it was answered, if it was.
    pub(super) fn answered(&self) -> Option<Timestamp> {
        self.requests.iter().find_map(|request| request.end.filter(|(_, end)| *end == End::Answered).map(|(at, _)| at))
    }

    /// When its user went away, if that is how it ended.
    pub(super) fn left(&self) -> Option<Timestamp> {
        self.requests.last().and_then(|request| request.cancelled).filter(|_| self.answered().is_none())
    }
}

impl End {
    fn of(verdict: &Verdict) -> Self {
        if verdict.outcome == Outcome::Answered {
            return Self::Answered;
        }
        let in_stream = verdict.foreign.is_some_and(|foreign| foreign.error_in_stream)
            || verdict.outcome == Outcome::Cut && verdict.status == 200;
        let failure = Failure { status: verdict.status, retry_after: verdict.retry_after, in_stream };
        Self::Failed(verdict.outcome, failure)
    }
}

impl Call {
    /// Whether it ended with a good answer.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.end, Some((_, Ending::Status(200)))) && self.facts.reason.is_none()
    }

    /// How long it took, or as far as it was waited for.
    pub(super) fn took(&self, until: Timestamp) -> Duration {
        self.end.map_or(until, |(at, _)| at).since(self.at)
    }
}
