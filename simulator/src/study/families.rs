//! The seven reference days on which routers are compared: one pool of 21 cheap keys with tight limits, two dear keys
//! behind it, overloads of 10 to 20 minutes. They differ in load, limits and in what the overloads share.
//!
//! Scenario files can say the same; these are built in code because tests, benchmarks and the tuner need them without
//! files.

use std::sync::Arc;

use stormproof_router::core::{
    ChargeErrors, Client, Deployment, Duration, Fingerprint, Key, KeyId, Limits, Model, ModelId, Price, Priority,
    Project, ProjectId, Provider, ProviderId, Settings, Tier, TierId, Timeouts, Timestamp, TokenPrice, Upstream,
    UpstreamId, Usd, WallTime,
};

use super::case::Case;
use crate::clients::{self, Arrivals, Rate};
use crate::draws::Shape;
use crate::engine::Day;
use crate::world::{self, Charged, Episode, Follows, Latency, Per, Process, Quota, Weather};

/// What distinguishes a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// Its letter.
    pub name: &'static str,
    /// Turns per second.
    pub load: f64,
    /// How long turns arrive.
    pub duration: Duration,
    /// Requests per minute of each cheap key.
    pub rpm: u32,
    /// Requests per day of each cheap key.
    pub rpd: Option<u32>,
    /// When the models are overloaded.
    pub storms: Storms,
    /// Whether a 503 consumes quota.
    pub charged: bool,
    /// Cheap keys.
    pub cheap_keys: u32,
    /// Requests per minute of each of the two dear keys.
    pub dear_rpm: u32,
}

/// When the models are overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storms {
    /// Each model has its own episodes.
    Independent,
    /// The dear model shares the cheap one's, at 0.6 of its failures.
    Shared,
    /// One episode of both, in minutes 10 to 25.
    Fixed,
}

/// Every family, by its letter: just fits its day quota; starved of it; the plain one; more load and starved; shared
/// episodes; one known episode; overloads that cost no quota.
pub const FAMILIES: [Family; 7] = [
    Family { name: "a", load: 0.25, rpd: Some(100), ..PLAIN },
    Family { name: "b", load: 0.5, rpd: Some(100), ..PLAIN },
    PLAIN,
    Family { name: "e", rpm: 10, rpd: Some(250), ..PLAIN },
    Family { name: "g", storms: Storms::Shared, ..PLAIN },
    Family { name: "i", load: 0.5, duration: Duration::from_secs(3600), storms: Storms::Fixed, ..PLAIN },
    Family { name: "j", charged: false, ..PLAIN },
];

const PLAIN: Family = Family {
    name: "c",
    load: 1.0,
    duration: Duration::from_secs(7200),
    rpm: 5,
    rpd: None,
    storms: Storms::Independent,
    charged: true,
    cheap_keys: 21,
    dear_rpm: 150,
};

const DEADLINE: Duration = Duration::from_secs(180);
const CHEAP: UpstreamId = UpstreamId::new(0);

/// The family of that letter.
pub fn family(name: &str) -> Option<Family> {
    FAMILIES.into_iter().find(|family| family.name == name)
}

/// The plain family with 500 times the load and the limits: ten thousand requests in flight.
pub fn crowd() -> Family {
    Family { name: "crowd", load: 500.0, rpm: 2500, dear_rpm: 75_000, duration: Duration::from_secs(600), ..PLAIN }
}

impl Family {
    /// The day, with the settings under test: they know the limits, and whether errors are charged.
    pub fn case(&self) -> Case {
        Case {
            name: format!("family-{}", self.name),
            day: self.day(),
            settings: Arc::new(self.settings()),
            assumed: Vec::new(),
        }
    }

    fn day(&self) -> Day {
        let rates = vec![Rate { from: Timestamp::ZERO, per_s: self.load }];
        let clients = vec![clients::Spec::simple(ModelId::new(0), Arrivals::Poisson(rates), DEADLINE)];
        let cheap = Quota { rpm: Some(self.rpm), rpd: self.rpd, ..Quota::default() };
        let dear = Quota { rpm: Some(self.dear_rpm), ..Quota::default() };
        let unlimited = Quota::default();
        let keys = self.cheap_keys + 2;
        Day {
            start: START,
            duration: self.duration,
            world: world::Spec {
                resets: vec![Timestamp::ZERO + self.duration + DEADLINE],
                keys: (0..keys).map(|project| world::Key { project, deaths: Vec::new() }).collect(),
                projects: (0..keys)
                    .map(|key| if key < self.cheap_keys { vec![cheap, unlimited] } else { vec![unlimited, dear] })
                    .map(|quotas| world::Project { quotas })
                    .collect(),
                upstreams: vec![self.upstream(self.cheap_weather()), self.upstream(self.dear_weather())],
                ..world::Spec::default()
            },
            clients,
            happenings: Vec::new(),
        }
    }

    fn upstream(&self, weather: Weather) -> world::Upstream {
        world::Upstream {
            weather: Weather { noise: 0.01, ..weather },
            latency: Latency {
                shape: Shape::LogNormal { median: 20.0, sigma: 0.6 },
                tokens_per_s: None,
                per: Per::Turn,
            },
            charged: Charged { overload: self.charged, limit: false },
            ..world::Upstream::default()
        }
    }

    fn cheap_weather(&self) -> Weather {
        match self.storms {
            Storms::Independent | Storms::Shared => Weather {
                process: Some(Process {
                    healthy: Shape::Exponential { mean: 1800.0 },
                    episode: Shape::Uniform { min: 600.0, max: 1200.0 },
                    p503: Shape::Uniform { min: 0.6, max: 0.95 },
                }),
                ..Weather::default()
            },
            Storms::Fixed => fixed(0.9),
        }
    }

    fn dear_weather(&self) -> Weather {
        match self.storms {
            Storms::Independent => Weather {
                process: Some(Process {
                    healthy: Shape::Exponential { mean: 3600.0 },
                    episode: Shape::Uniform { min: 600.0, max: 1200.0 },
                    p503: Shape::Uniform { min: 0.2, max: 0.6 },
                }),
                ..Weather::default()
            },
            Storms::Shared => Weather { follows: Some(Follows { upstream: CHEAP, factor: 0.6 }), ..Weather::default() },
            Storms::Fixed => fixed(0.5),
        }
    }

    fn settings(&self) -> Settings {
        let provider = ProviderId::new(0);
        let keys = self.cheap_keys + 2;
        let name = |key: u32| {
            if key < self.cheap_keys {
                format!("free-{:02}", key + 1)
            } else {
                format!("paid-{}", key + 1 - self.cheap_keys)
            }
        };
        let tier = |name: &str, upstream, limits, answer| Tier {
            name: name.to_owned(),
            upstream,
            limits,
            price: Price { tokens: TokenPrice::default(), above: None, answer },
            budget: None,
            input_max: None,
            output_max: None,
            timeouts: Timeouts::default(),
        };
        let model = |name: &str, tiers: &[u16]| Model {
            name: name.to_owned(),
            tiers: tiers.iter().map(|tier| TierId::new(*tier)).collect(),
            deadline: DEADLINE,
            context_fallback: None,
            content_fallback: None,
        };
        let cheap = Limits { rpm: Some(self.rpm), tpm: None, rpd: self.rpd, learn: false };
        let dear = Limits { rpm: Some(self.dear_rpm), tpm: None, rpd: None, learn: false };
        let mut settings = Settings {
            seed: 0,
            resets: vec![START + self.duration + DEADLINE],
            providers: vec![Provider { name: "gemini".to_owned() }],
            upstreams: ["cheap", "dear"].map(|model| Upstream { provider, model: model.to_owned() }).to_vec(),
            projects: (0..keys).map(|key| Project { name: name(key), provider }).collect(),
            keys: (0..keys)
                .map(|key| Key {
                    name: name(key),
                    fingerprint: Fingerprint::new(u64::from(key).to_be_bytes()),
                    project: ProjectId::new(key),
                })
                .collect(),
            tiers: vec![
                tier("free", CHEAP, cheap, Usd::ZERO),
                tier("paid", UpstreamId::new(1), dear, Usd::from_micros(10_000_000)),
            ],
            deployments: (0..keys)
                .map(|key| Deployment {
                    tier: TierId::new(u16::from(key >= self.cheap_keys)),
                    key: KeyId::new(key),
                    weight: 1,
                    order: 0,
                })
                .collect(),
            // The dear tier is a model of its own too: for LiteLLM a group is a model's first tier.
            models: vec![model("cheap", &[0, 1]), model("dear", &[1])],
            clients: vec![Client {
                name: "anonymous".to_owned(),
                priority: Priority::Normal,
                budget: None,
                rpm: None,
                tpm: None,
                models: None,
            }],
            ..Settings::default()
        };
        let knobs = &mut settings.knobs;
        knobs.rate_charge_errors = if self.charged { ChargeErrors::Yes } else { ChargeErrors::No };
        knobs.retry_backoff_base = Duration::from_millis(100);
        knobs.retry_backoff_max = Duration::from_millis(800);
        knobs.rate_window_guard = Duration::from_millis(1);
        settings
    }
}

fn fixed(p503: f64) -> Weather {
    let minutes = |minutes: u64| Timestamp::ZERO + Duration::from_secs(minutes * 60);
    Weather { episodes: vec![Episode { from: minutes(10), until: minutes(25), p503 }], ..Weather::default() }
}

/// Any wall time will do, for the reset is given as an instant: 2025-04-19T05:00:00Z.
const START: WallTime = WallTime::from_nanos(1_745_038_800_000_000_000);
