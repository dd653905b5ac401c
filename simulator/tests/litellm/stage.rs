//! A plain loop around a router and a world, with clients that ask at given times and never again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use stormproof_router::core::{
    Arrived, AttemptId, ClientId, Dispatch, Duration, Ending, Endpoint, Facts, Finished, Input, ModelId, Output,
    Priority, RequestId, Route, Settings, Timestamp, TokenEstimate, Tokens, Transport, TurnId, UpstreamId, Verdict,
    WallTime, mix,
};
use stormproof_simulator::world::{Call, Luck, Spec, World};

/// One question of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) at: Timestamp,
    pub(crate) model: u16,
    pub(crate) stream: bool,
    pub(crate) patience: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) verdict: Verdict,
    /// Upstreams called, in order.
    pub(crate) called: Vec<UpstreamId>,
}

/// The stage: a router, a world, and what is going to happen.
pub(crate) struct Stage<R> {
    pub(crate) router: R,
    pub(crate) now: Timestamp,
    pub(crate) hash: u64,
    settings: Arc<Settings>,
    world: World,
    events: BinaryHeap<Reverse<(Timestamp, u64)>>,
    inputs: BTreeMap<u64, Input>,
    serial: u64,
    wish: Timestamp,
    streams: BTreeMap<RequestId, bool>,
    running: BTreeMap<AttemptId, u64>,
    called: BTreeMap<RequestId, Vec<UpstreamId>>,
    told: BTreeMap<RequestId, Verdict>,
}

impl<R: Route> Stage<R> {
    /// A stage where nothing has happened yet but the configuration, at this wall time.
    pub(crate) fn new(router: R, settings: Settings, spec: &Spec, wall: WallTime) -> Self {
        let settings = Arc::new(settings);
        let mut stage = Self {
            router,
            now: Timestamp::ZERO,
            hash: 0,
            settings: Arc::clone(&settings),
            world: World::new(spec, settings.seed, Timestamp::MAX),
            events: BinaryHeap::new(),
            inputs: BTreeMap::new(),
            serial: 0,
            wish: Timestamp::MAX,
            streams: BTreeMap::new(),
            running: BTreeMap::new(),
            called: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        stage.handle(Input::Configured { settings });
        stage.handle(Input::Clock { wall });
        stage
    }

    /// Asks every question and lets the day go on until nothing is left to happen.
    pub(crate) fn ask(&mut self, questions: &[Question]) -> Vec<Told> {
        let first = self.streams.len() as u64 + 1;
        for (number, question) in (first..).zip(questions) {
            let request = RequestId::new(number);
            self.streams.insert(request, question.stream);
            let arrived = Arrived {
                request,
                turn: TurnId::new(number),
                client: ClientId::new(0),
                model: ModelId::new(question.model),
                endpoint: Endpoint::Generate,
                stream: question.stream,
                tokens: TokenEstimate { input: Tokens::new(1000), output_max: None },
                priority: Priority::Normal,
                deadline: question.at + question.patience,
            };
            self.schedule(question.at, Input::Arrived(arrived));
        }
        self.play(Timestamp::MAX);
        let told = |number| {
            let request = RequestId::new(number);
            let verdict = self.told[&request].clone();
            Told { verdict, called: self.called.get(&request).cloned().unwrap_or_default() }
        };
        (first..).take(questions.len()).map(told).collect()
    }

    /// Lets everything happen that happens before `until`.
    pub(crate) fn play(&mut self, until: Timestamp) {
        while let Some(Reverse((at, serial))) = self.events.peek().copied().filter(|next| next.0.0 < until) {
            self.events.pop();
            let Some(input) = self.inputs.remove(&serial) else { continue };
            if input == Input::Woke && at != self.wish {
                continue;
            }
            if let Input::Finished(finished) = &input {
                self.running.remove(&finished.attempt);
            }
            self.now = at;
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input) {
        self.router.handle(self.now, input);
        while let Some(output) = self.router.poll_output() {
            self.hash = format!("{output:?}")
                .bytes()
                .fold(mix(self.hash ^ self.now.as_nanos()), |hash, byte| mix(hash ^ u64::from(byte)));
            match output {
                Output::Dispatch(dispatch) => self.dispatch(&dispatch),
                Output::Abandon { attempt } => {
                    if let Some(serial) = self.running.remove(&attempt) {
                        self.inputs.remove(&serial);
                        let ending = Ending::Transport(Transport::Abandoned);
                        let finished = Finished { attempt, ending, facts: Facts::default(), usage: None };
                        self.schedule(self.now, Input::Finished(finished));
                    }
                }
                Output::Close { request, verdict } => {
                    assert!(self.told.insert(request, verdict).is_none(), "request {request} was closed twice");
                }
                Output::WakeAt(at) => {
                    self.wish = at;
                    if at < Timestamp::MAX {
                        self.schedule(at, Input::Woke);
                    }
                }
                Output::Relay { .. } => {}
            }
        }
    }

    fn dispatch(&mut self, dispatch: &Dispatch) {
        let deployment = self.settings.deployments[dispatch.deployment.index()];
        let upstream = self.settings.tiers[deployment.tier.index()].upstream;
        self.called.entry(dispatch.request).or_default().push(upstream);
        let attempt = dispatch.attempt;
        let (_, plan) = self.world.call(
            self.now,
            &Call {
                key: deployment.key,
                upstream,
                endpoint: Endpoint::Generate,
                stream: self.streams[&dispatch.request],
                input: Tokens::new(1000),
                output: Tokens::new(500),
                address: 0,
                luck: Luck { turn: mix(dispatch.request.get()), attempt: mix(attempt.get()) },
            },
        );
        if let Some(first_byte) = plan.first_byte {
            self.schedule(first_byte, Input::FirstByte { attempt });
        }
        let finished = Finished { attempt, ending: plan.ending, facts: plan.facts, usage: plan.usage };
        let serial = self.schedule(plan.end, Input::Finished(finished));
        self.running.insert(attempt, serial);
    }

    fn schedule(&mut self, at: Timestamp, input: Input) -> u64 {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial)));
        self.inputs.insert(self.serial, input);
        self.serial
    }
}
