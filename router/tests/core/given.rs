//! A router on a table: settings by a few words, one input at a time, the decisions that come of it.

use std::sync::Arc;

use stormproof_router::core::{
    Action, Arrived, AttemptId, ChargeErrors, Client, ClientId, Deployment, Dispatch, Duration, Ending, Endpoint,
    Facts, Fingerprint, Finished, Input, Key, KeyId, Limits, Model, ModelId, Note, Output, Price, Priority, Project,
    ProjectId, Provider, ProviderId, RequestId, Route, Router, Settings, Tier, TierId, Timeouts, Timestamp,
    TokenEstimate, Tokens, Transport, TurnId, Upstream, UpstreamId, Usage, Usd, Verdict, Violation, Violations,
    WallTime,
};

/// A router with its clock, and everything it has said since the last look.
pub(crate) struct Table {
    pub(crate) router: Router,
    pub(crate) now: Timestamp,
    pub(crate) settings: Settings,
    pub(crate) notes: Vec<Note>,
    requests: u64,
    alarm: Timestamp,
}

/// What one input led to.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) dispatched: Vec<Dispatch>,
    pub(crate) relayed: Vec<RequestId>,
    pub(crate) abandoned: Vec<AttemptId>,
    pub(crate) closed: Vec<(RequestId, Verdict)>,
}

/// A request of the usual kind, to be changed by a test.
pub(crate) fn a_request() -> Arrived {
    Arrived {
        request: RequestId::new(0),
        turn: TurnId::new(0),
        client: ClientId::new(0),
        model: ModelId::new(0),
        endpoint: Endpoint::Generate,
        stream: false,
        tokens: TokenEstimate { input: Tokens::new(1000), output_max: Some(Tokens::new(1000)) },
        priority: Priority::Normal,
        deadline: Timestamp::ZERO + Duration::from_secs(180),
    }
}

/// Tiers of one model in order: name, keys, limits, price of an answer in dollars. Each key is its own project; each
/// tier its own upstream model. The quota day ends after an hour.
pub(crate) fn settings(tiers: &[(&str, u32, Limits, i64)]) -> Settings {
    let mut settings = Settings {
        resets: vec![WallTime::from_nanos(3_600_000_000_000)],
        providers: vec![Provider { name: "gemini".into() }],
        ..Settings::default()
    };
    for (index, (name, keys, limits, dollars)) in tiers.iter().enumerate() {
        settings.upstreams.push(Upstream { provider: ProviderId::new(0), model: format!("{name}-model") });
        settings.tiers.push(Tier {
            name: (*name).into(),
            upstream: UpstreamId::new(index as u16),
            limits: *limits,
            price: Price { answer: Usd::from_micros(dollars * 1_000_000), ..Price::default() },
            budget: None,
            input_max: None,
            output_max: None,
            timeouts: Timeouts::default(),
        });
        for number in 0..*keys {
            let id = settings.keys.len() as u32;
            settings.projects.push(Project { name: format!("{name}-{number}"), provider: ProviderId::new(0) });
            settings.keys.push(Key {
                name: format!("{name}-{number}"),
                fingerprint: Fingerprint::new(u64::from(id).to_be_bytes()),
                project: ProjectId::new(id),
            });
            let (tier, key) = (TierId::new(index as u16), KeyId::new(id));
            settings.deployments.push(Deployment { tier, key, weight: 1, order: 0 });
        }
    }
    settings.models.push(a_model("model", &(0..tiers.len() as u16).collect::<Vec<_>>()));
    settings.clients.push(a_client("anonymous"));
    settings.knobs.rate_charge_errors = ChargeErrors::Yes;
    settings.knobs.rate_window_guard = Duration::ZERO;
    settings
}

pub(crate) fn a_model(name: &str, tiers: &[u16]) -> Model {
    Model {
        name: name.into(),
        tiers: tiers.iter().map(|tier| TierId::new(*tier)).collect(),
        deadline: Duration::from_secs(180),
        context_fallback: None,
        content_fallback: None,
    }
}

pub(crate) fn a_client(name: &str) -> Client {
    Client { name: name.into(), priority: Priority::Normal, budget: None, rpm: None, tpm: None, models: None }
}

pub(crate) fn rpm(rpm: u32) -> Limits {
    Limits { rpm: Some(rpm), ..Limits::default() }
}

pub(crate) fn rpd(rpd: u32) -> Limits {
    Limits { rpd: Some(rpd), ..Limits::default() }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A 429 that names the day quota, with a delay beside it.
pub(crate) fn day_quota(retry_after: Option<u64>) -> Facts {
    let violations = Violations { requests_day: Violation::Unvalued, ..Violations::default() };
    Facts { violations, retry_after: retry_after.map(secs), ..Facts::default() }
}

impl Table {
    pub(crate) fn new(settings: Settings) -> Self {
        settings.check().expect("the graph is sound");
        let mut table = Self {
            router: Router::new(),
            now: Timestamp::ZERO,
            settings,
            notes: Vec::new(),
            requests: 0,
            alarm: Timestamp::MAX,
        };
        table.hand_in(Input::Configured { settings: Arc::new(table.settings.clone()) });
        table.hand_in(Input::Clock { wall: WallTime::default() });
        table
    }

    pub(crate) fn hand_in(&mut self, input: Input) -> Decisions {
        let mut story = Vec::new();
        self.router.observe(self.now, input, &mut story);
        self.notes.extend(story.into_iter().map(|(_, note)| note));
        let mut decisions = Decisions::default();
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Dispatch(dispatch) => decisions.dispatched.push(dispatch),
                Output::Relay { request, .. } => decisions.relayed.push(request),
                Output::Abandon { attempt } => decisions.abandoned.push(attempt),
                Output::Close { request, verdict } => decisions.closed.push((request, verdict)),
                Output::WakeAt(at) => self.alarm = at,
            }
        }
        decisions
    }

    /// A request arrives, with its deadline counted from now.
    pub(crate) fn arrive(&mut self, arrived: Arrived) -> Decisions {
        self.requests += 1;
        let deadline = self.now + arrived.deadline.since(Timestamp::ZERO);
        self.hand_in(Input::Arrived(Arrived { request: RequestId::new(self.requests), deadline, ..arrived }))
    }

    /// A usual request arrives and starts at once.
    pub(crate) fn start(&mut self) -> Dispatch {
        self.arrive(a_request()).the_dispatch()
    }

    /// Starts so many requests and gives the keys that they went to.
    pub(crate) fn start_keys(&mut self, count: usize) -> Vec<KeyId> {
        (0..count)
            .map(|_| {
                let dispatch = self.start();
                self.key(&dispatch)
            })
            .collect()
    }

    pub(crate) fn finish(&mut self, dispatch: &Dispatch, ending: Ending, facts: Facts) -> Decisions {
        let usage = Usage { input: Tokens::new(1000), cached: Tokens::ZERO, output: Tokens::new(500) };
        let usage = (ending == Ending::Status(200)).then_some(usage);
        self.hand_in(Input::Finished(Finished { attempt: dispatch.attempt, ending, facts, usage }))
    }

    pub(crate) fn answer(&mut self, dispatch: &Dispatch, status: u16) -> Decisions {
        self.finish(dispatch, Ending::Status(status), Facts::default())
    }

    pub(crate) fn break_off(&mut self, dispatch: &Dispatch, transport: Transport) -> Decisions {
        self.finish(dispatch, Ending::Transport(transport), Facts::default())
    }

    pub(crate) fn act(&mut self, action: Action) -> Decisions {
        self.hand_in(Input::Operator { action, author: "operator".into() })
    }

    pub(crate) fn configure(&mut self, settings: Settings) -> Decisions {
        settings.check().expect("the graph is sound");
        self.settings = settings;
        self.hand_in(Input::Configured { settings: Arc::new(self.settings.clone()) })
    }

    /// Lets time pass, waking the router as it asked; gives the decisions of all that.
    pub(crate) fn pass(&mut self, time: Duration) -> Decisions {
        let until = self.now + time;
        let mut all = Decisions::default();
        while self.alarm <= until {
            self.now = std::mem::replace(&mut self.alarm, Timestamp::MAX);
            all.add(self.hand_in(Input::Woke));
        }
        self.now = until;
        all.add(self.hand_in(Input::Woke));
        all
    }

    /// The name of the tier that was chosen.
    pub(crate) fn tier(&self, dispatch: &Dispatch) -> &str {
        &self.settings.tiers[self.settings.deployments[dispatch.deployment.index()].tier.index()].name
    }

    /// The key that was chosen.
    pub(crate) fn key(&self, dispatch: &Dispatch) -> KeyId {
        self.settings.deployments[dispatch.deployment.index()].key
    }
}

impl Decisions {
    /// The one attempt that was started.
    #[track_caller]
    pub(crate) fn the_dispatch(&self) -> Dispatch {
        assert_eq!(self.dispatched.len(), 1, "{self:?}");
        self.dispatched[0]
    }

    /// The one request's outcome.
    #[track_caller]
    pub(crate) fn the_verdict(&self) -> Verdict {
        assert_eq!(self.closed.len(), 1, "{self:?}");
        self.closed[0].1.clone()
    }

    /// That nothing was started and nothing ended.
    #[track_caller]
    pub(crate) fn nothing(&self) {
        assert!(self.dispatched.is_empty() && self.closed.is_empty(), "{self:?}");
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        self.dispatched.append(&mut other.dispatched);
        self.relayed.append(&mut other.relayed);
        self.abandoned.append(&mut other.abandoned);
        self.closed.append(&mut other.closed);
    }
}
