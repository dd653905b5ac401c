//! A small router and a small driver: enough to make every kind of event, and no more policy than that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stormproof_router::core::{
    Action, Arrived, AttemptId, Cause, Client, ClientId, Deployment, DeploymentId, Dispatch, Duration, Ending,
    Endpoint, Facts, Fingerprint, Finished, Input, Key, KeyId, Limits, Model, ModelId, Note, Observer, Outcome, Output,
    Price, Priority, Project, ProjectId, Provider, ProviderId, RequestId, RestoreError, Route, Settings, Tier,
    TierCause, TierId, Timeouts, Timestamp, TokenEstimate, Tokens, Transport, TurnId, Upstream, UpstreamId, Usage, Usd,
    Verdict, Violation, Violations, WallTime, Why, draw, mix, unit,
};
use stormproof_router::log::{InFlight, Opening, Recording};

/// First come, first served, on the deployment that was used least in the last minute; three attempts each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Toy {
    settings: Option<Arc<Settings>>,
    attempts: u64,
    waiting: VecDeque<Waiting>,
    flying: BTreeMap<AttemptId, (Waiting, DeploymentId)>,
    used: Vec<VecDeque<Timestamp>>,
    wake: Option<Timestamp>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
    /// What the counters are off by, to be caught at it.
    #[serde(skip)]
    lie: u64,
    /// Decides nothing.
    #[serde(skip)]
    mute: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Waiting {
    request: RequestId,
    deadline: Timestamp,
    since: Timestamp,
    before: u16,
}

pub(crate) const POLICY: &str = "toy/1";

impl Toy {
    fn serve<O: Observer>(&mut self, now: Timestamp, observer: &mut O) {
        let Some(settings) = self.settings.clone() else { return };
        self.used.resize(settings.deployments.len(), VecDeque::new());
        for used in &mut self.used {
            while used.front().is_some_and(|at| *at + Duration::from_secs(60) <= now) {
                used.pop_front();
            }
        }
        while let Some(next) = self.waiting.front().copied() {
            let free = (0..self.used.len())
                .filter(|&index| {
                    let limit = settings.tiers[settings.deployments[index].tier.index()].limits.rpm.unwrap_or(u32::MAX);
                    let used = self.used[index].len() as u32;
                    if O::LISTENS && used >= limit {
                        let until = self.used[index].front().map(|at| *at + Duration::from_secs(60));
                        observer.note(
                            now,
                            Note::Skipped {
                                request: next.request,
                                deployment: DeploymentId::new(index as u32),
                                cause: Cause::RateMinute,
                                count: Some((used, limit)),
                                until,
                            },
                        );
                    }
                    used < limit
                })
                .min_by_key(|&index| self.used[index].len());
            let Some(index) = free else { break };
            self.waiting.pop_front();
            self.used[index].push_back(now);
            self.attempts += 1 + self.lie;
            let attempt = AttemptId::new(self.attempts);
            let deployment = DeploymentId::new(index as u32);
            self.flying.insert(attempt, (Waiting { before: next.before + 1, ..next }, deployment));
            let usual = Timeouts::default();
            let left = next.deadline.since(now);
            let timeouts = Timeouts { first_byte: usual.first_byte.min(left), total: usual.total.min(left), ..usual };
            let why = match (next.before, now.since(next.since)) {
                (0, Duration::ZERO) => Why::First,
                (0, waited) => Why::Waited { waited },
                (before, _) => Why::Retry { before },
            };
            self.outputs.push_back(Output::Dispatch(Dispatch {
                request: next.request,
                attempt,
                deployment,
                timeouts,
                why,
            }));
        }
        let free = self.used.iter().filter_map(|used| used.front()).min().map(|at| *at + Duration::from_secs(60));
        let deadline = self.waiting.iter().map(|waiting| waiting.deadline).min();
        let wake = deadline.map(|deadline| free.map_or(deadline, |free| free.min(deadline)));
        if wake != self.wake {
            self.wake = wake;
            self.outputs.push_back(Output::WakeAt(wake.unwrap_or(Timestamp::MAX)));
        }
    }

    fn close(&mut self, request: RequestId, outcome: Outcome, status: u16, before: u16, until: Option<Timestamp>) {
        let cause = match outcome {
            Outcome::Deadline => Some(Cause::Deadline),
            Outcome::Failed => Some(Cause::Attempts),
            Outcome::Answered | Outcome::Refused | Outcome::Cut | Outcome::Cancelled => None,
        };
        let total = self.used.len() as u32;
        let causes =
            cause.map(|cause| TierCause { tier: TierId::new(0), usable: 1, total, cause, until }).into_iter().collect();
        let spend = Usd::from_micros(i64::from(before) * 125);
        let verdict = Verdict { attempts: before, spend, causes, ..Verdict::new(outcome, status) };
        self.outputs.push_back(Output::Close { request, verdict });
    }
}

impl Route for Toy {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, observer: &mut O) {
        let expired: Vec<Waiting> = self.waiting.iter().copied().filter(|w| w.deadline <= now).collect();
        self.waiting.retain(|waiting| waiting.deadline > now);
        for waiting in expired {
            self.close(waiting.request, Outcome::Deadline, 503, waiting.before, self.wake);
        }
        match input {
            Input::Configured { settings } => self.settings = Some(settings),
            Input::Arrived(Arrived { request, deadline, .. }) => {
                self.waiting.push_back(Waiting { request, deadline, since: now, before: 0 });
            }
            Input::FirstByte { attempt } => {
                if let Some((waiting, _)) = self.flying.get(&attempt) {
                    self.outputs.push_back(Output::Relay { request: waiting.request, attempt });
                }
            }
            Input::Finished(finished) => {
                if let Some((waiting, deployment)) = self.flying.remove(&finished.attempt) {
                    let request = waiting.request;
                    if O::LISTENS {
                        let attempt = finished.attempt;
                        let class = Cause::Overload;
                        observer.note(now, Note::Classified { request, attempt, deployment, class, scope: None });
                    }
                    match finished.ending {
                        Ending::Status(200) => self.close(request, Outcome::Answered, 200, waiting.before, None),
                        Ending::Transport(Transport::Abandoned) => {}
                        Ending::Status(_) | Ending::Transport(_) if waiting.before < 3 => {
                            self.waiting.push_front(waiting);
                        }
                        Ending::Status(status) => self.close(request, Outcome::Failed, status, waiting.before, None),
                        Ending::Transport(_) => self.close(request, Outcome::Failed, 504, waiting.before, None),
                    }
                }
            }
            Input::Cancelled { request } => {
                let attempt = self.flying.iter().find(|(_, (w, _))| w.request == request).map(|(attempt, _)| *attempt);
                if let Some(attempt) = attempt {
                    self.outputs.push_back(Output::Abandon { attempt });
                    self.close(request, Outcome::Cancelled, 0, 1, None);
                }
                self.waiting.retain(|waiting| waiting.request != request);
            }
            Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
        self.serve(now, observer);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().filter(|_| !self.mute)
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        postcard::from_bytes(snapshot).map_err(|error| RestoreError { policy: POLICY, reason: error.to_string() })
    }

    fn state_hash(&self) -> u64 {
        self.snapshot().iter().fold(0, |hash, byte| mix(hash ^ u64::from(*byte)))
    }

    fn policy(&self) -> &'static str {
        POLICY
    }
}

/// A router that counts its attempts wrongly, or keeps its decisions to itself, or both.
#[derive(Clone)]
pub(crate) struct Odd<const LIES: bool, const MUTE: bool>(Toy);

impl<const LIES: bool, const MUTE: bool> Odd<LIES, MUTE> {
    pub(crate) fn new() -> Self {
        Self(Toy { lie: LIES.into(), mute: MUTE, ..Toy::default() })
    }
}

impl<const LIES: bool, const MUTE: bool> Route for Odd<LIES, MUTE> {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, observer: &mut O) {
        self.0.observe(now, input, observer);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.poll_output()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self(Toy { lie: LIES.into(), mute: MUTE, ..Toy::restore(snapshot)? }))
    }

    fn state_hash(&self) -> u64 {
        self.0.state_hash()
    }

    fn policy(&self) -> &'static str {
        POLICY
    }
}

/// The secrets behind the settings' keys.
pub(crate) fn secret(index: u32) -> String {
    format!("sk-made-up-{:016x}", draw(9, 9, u64::from(index), 0))
}

/// Two tiers, five keys.
pub(crate) fn settings() -> Settings {
    let salt = stormproof_router::log::Salt::fixed([3; 32]);
    let tier = |name: &str, upstream, rpm, budget| Tier {
        name: name.to_owned(),
        upstream: UpstreamId::new(upstream),
        limits: Limits { rpm: Some(rpm), ..Limits::default() },
        price: Price::default(),
        budget,
        input_max: None,
        output_max: Some(Tokens::new(65_536)),
        timeouts: Timeouts::default(),
    };
    Settings {
        seed: 7,
        resets: vec![WallTime::from_nanos(1_745_046_000_000_000_000)],
        providers: vec![Provider { name: "gemini".to_owned() }],
        upstreams: ["pro-exp", "pro-preview"]
            .map(|model| Upstream { provider: ProviderId::new(0), model: model.to_owned() })
            .into(),
        projects: (0..5)
            .map(|index| Project { name: format!("project-{index}"), provider: ProviderId::new(0) })
            .collect(),
        keys: (0..5)
            .map(|index| Key {
                name: format!("free-{index:02}"),
                fingerprint: salt.fingerprint(&secret(index)),
                project: ProjectId::new(index),
            })
            .collect(),
        tiers: vec![tier("free", 0, 5, None), tier("paid", 1, 50, Some(Usd::from_micros(1_000_000)))],
        deployments: (0..5)
            .map(|index| Deployment { tier: TierId::new(0), key: KeyId::new(index), weight: 1, order: 0 })
            .collect(),
        models: vec![Model {
            name: "pro".to_owned(),
            tiers: vec![TierId::new(0), TierId::new(1)],
            deadline: Duration::from_secs(180),
            context_fallback: None,
            content_fallback: None,
        }],
        clients: vec![Client {
            name: "anonymous".to_owned(),
            priority: Priority::Normal,
            budget: None,
            rpm: None,
            tpm: None,
            models: None,
        }],
        ..Settings::default()
    }
}

pub(crate) fn opening() -> Opening {
    Opening {
        policy: POLICY,
        seed: 1,
        epoch: WallTime::from_nanos(1_745_000_000_000_000_000),
        settings: Arc::new(settings()),
    }
}

/// What the driver tells.
pub(crate) trait Recorder {
    fn record(&mut self, now: Timestamp, input: &Input);
    fn decided(&mut self, output: &Output);
    fn commit<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: &InFlight);
}

impl Recorder for Recording {
    fn record(&mut self, now: Timestamp, input: &Input) {
        self.record(now, input);
    }

    fn decided(&mut self, output: &Output) {
        self.decided(output);
    }

    fn commit<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: &InFlight) {
        self.commit(now, router, || in_flight.clone());
    }
}

/// A day of so many requests, with everything that may happen: the driver's side of [`Route`].
pub(crate) struct Day<R: Route> {
    pub(crate) router: R,
    pub(crate) now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Input>,
    queued: u64,
    wake: Option<(Timestamp, u64)>,
    in_flight: InFlight,
    seed: u64,
}

impl<R: Route> Day<R> {
    pub(crate) fn new(router: R, seed: u64, requests: u64) -> Self {
        let mut day = Self {
            router,
            now: Timestamp::ZERO,
            queue: BTreeMap::new(),
            queued: 0,
            wake: None,
            in_flight: InFlight::default(),
            seed,
        };
        day.push(Timestamp::ZERO, Input::Configured { settings: Arc::new(settings()) });
        day.push(Timestamp::ZERO, Input::Clock { wall: opening().epoch });
        let mut at = Timestamp::ZERO;
        for number in 1..=requests {
            at += Duration::from_secs_f64(4.0 * unit(draw(seed, 1, number, 0)));
            day.push(
                at,
                Input::Arrived(Arrived {
                    request: RequestId::new(number),
                    turn: TurnId::new(number),
                    client: ClientId::new(0),
                    model: ModelId::new(0),
                    endpoint: Endpoint::Generate,
                    stream: number % 2 == 0,
                    tokens: TokenEstimate { input: Tokens::new(8_000 + number as u32), output_max: None },
                    priority: Priority::Normal,
                    deadline: at + Duration::from_secs(if number % 7 == 0 { 20 } else { 180 }),
                }),
            );
            if number % 11 == 0 {
                day.push(at + Duration::from_millis(700), Input::Cancelled { request: RequestId::new(number) });
            }
            if number % 13 == 0 {
                let action = Action::SkipTier { tier: TierId::new(1), until: at + Duration::from_secs(60) };
                day.push(at, Input::Operator { action, author: "operator".into() });
            }
        }
        day
    }

    fn push(&mut self, at: Timestamp, input: Input) -> (Timestamp, u64) {
        self.queued += 1;
        self.queue.insert((at, self.queued), input);
        (at, self.queued)
    }

    /// One input, with its decisions and their consequences; `false` when nothing is left to happen.
    pub(crate) fn step(&mut self, recorder: &mut impl Recorder) -> bool {
        let Some(((now, _), input)) = self.queue.pop_first() else { return false };
        self.now = now;
        match &input {
            Input::Arrived(arrived) => self.in_flight.requests.push(arrived.request),
            Input::Finished(finished) => self.in_flight.attempts.retain(|attempt| *attempt != finished.attempt),
            Input::Configured { .. }
            | Input::Clock { .. }
            | Input::FirstByte { .. }
            | Input::Cancelled { .. }
            | Input::Operator { .. }
            | Input::Woke => {}
        }
        recorder.record(now, &input);
        self.router.handle(now, input);
        while let Some(output) = self.router.poll_output() {
            recorder.decided(&output);
            self.act(&output);
        }
        recorder.commit(now, &self.router, &self.in_flight);
        true
    }

    pub(crate) fn run(&mut self, recorder: &mut impl Recorder) {
        while self.step(recorder) {}
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    fn act(&mut self, output: &Output) {
        match output {
            Output::Dispatch(dispatch) => {
                self.in_flight.attempts.push(dispatch.attempt);
                let attempt = dispatch.attempt;
                let (ending, facts, usage, after) = self.answer(attempt);
                if ending == Ending::Status(200) {
                    self.push(self.now + Duration::from_millis(900), Input::FirstByte { attempt });
                }
                let at = self.now + after.min(dispatch.timeouts.total);
                self.push(at, Input::Finished(Finished { attempt, ending, facts, usage }));
            }
            Output::Close { request, .. } => self.in_flight.requests.retain(|each| each != request),
            Output::WakeAt(at) => {
                if let Some(before) = self.wake.take() {
                    self.queue.remove(&before);
                }
                if *at != Timestamp::MAX {
                    self.wake = Some(self.push(*at, Input::Woke));
                }
            }
            Output::Abandon { .. } | Output::Relay { .. } => {}
        }
    }

    fn answer(&self, attempt: AttemptId) -> (Ending, Facts, Option<Usage>, Duration) {
        let bits = draw(self.seed, 2, attempt.get(), 0);
        let after = Duration::from_secs_f64(1.0 + 20.0 * unit(draw(self.seed, 3, attempt.get(), 0)));
        let plain = Facts::default();
        match bits % 10 {
            0 => (Ending::Status(503), plain, None, Duration::from_millis(1_200)),
            1 => {
                let requests_minute = Violation::Limit(5);
                let violations = Violations { requests_minute, ..Violations::default() };
                let facts = Facts { violations, retry_after: Some(Duration::from_secs(18)), ..plain };
                (Ending::Status(429), facts, None, Duration::from_millis(300))
            }
            2 => (Ending::Transport(Transport::Cut), plain, None, after),
            _ => {
                let output = Tokens::new((bits >> 32) as u32 % 2_000);
                let usage = Usage { input: Tokens::new(8_010), cached: Tokens::ZERO, output };
                (Ending::Status(200), plain, Some(usage), after)
            }
        }
    }
}

/// A fingerprint that no key has.
pub(crate) fn stranger() -> Fingerprint {
    Fingerprint::new([0xee; 8])
}
