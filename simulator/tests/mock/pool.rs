//! A small pool at every kind of provider, and mocks of it.

use std::sync::Arc;

use stormproof_router::core::{
    Deployment, Fingerprint, Key, KeyId, Limits, Price, Project, ProjectId, Provider, ProviderId, Settings, Tier,
    TierId, Timeouts, TokenPrice, Upstream, UpstreamId, Usd, WallTime,
};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::engine::Day;
use stormproof_simulator::mock::{Manners, Mock, Setup};
use stormproof_simulator::study::Case;
use stormproof_simulator::world::{self, Latency, Pace, Per, Refusals, Wording};

/// The models of the pool: each at a provider of its own, with one key.
pub(crate) const MODELS: [(&str, Wording, &str); 4] = [
    ("gemini", Wording::GeminiLate2025, "gemini-2.5-pro"),
    ("vertex", Wording::Vertex, "gemini-2.5-flash"),
    ("openai", Wording::OpenAi, "gpt-4o"),
    ("mistral", Wording::Mistral, "mistral-large-latest"),
];

/// 2025-04-19T05:20:57Z.
pub(crate) const START: WallTime = WallTime::from_nanos(1_745_040_057_000_000_000);

/// The place of a provider's model.
pub(crate) fn upstream(provider: &str) -> UpstreamId {
    let place = MODELS.iter().position(|(name, _, _)| *name == provider).expect("a provider of the pool");
    UpstreamId::new(place as u16)
}

/// The pool, where everything is answered at once; then `change` has its way.
pub(crate) fn case(change: impl FnOnce(&mut world::Spec)) -> Case {
    let ids = 0..MODELS.len() as u16;
    let settings = Settings {
        providers: MODELS.iter().map(|(name, _, _)| Provider { name: (*name).to_owned() }).collect(),
        upstreams: MODELS
            .iter()
            .zip(ids.clone())
            .map(|((_, _, model), id)| Upstream { provider: ProviderId::new(id), model: (*model).to_owned() })
            .collect(),
        projects: MODELS
            .iter()
            .zip(ids.clone())
            .map(|((name, _, _), id)| Project { name: (*name).to_owned(), provider: ProviderId::new(id) })
            .collect(),
        keys: MODELS
            .iter()
            .zip(ids.clone())
            .map(|((name, _, _), id)| Key {
                name: format!("{name}-01"),
                fingerprint: Fingerprint::new([id as u8; 8]),
                project: ProjectId::new(id.into()),
            })
            .collect(),
        tiers: MODELS
            .iter()
            .zip(ids.clone())
            .map(|((name, _, _), id)| Tier {
                name: (*name).to_owned(),
                upstream: UpstreamId::new(id),
                limits: Limits::default(),
                price: match *name {
                    "gemini" => Price::default(),
                    _ => Price {
                        tokens: TokenPrice { input: Usd::from_micros(1), ..Default::default() },
                        ..Price::default()
                    },
                },
                budget: None,
                input_max: None,
                output_max: None,
                timeouts: Timeouts::default(),
            })
            .collect(),
        deployments: ids
            .map(|id| Deployment { tier: TierId::new(id), key: KeyId::new(id.into()), weight: 1, order: 0 })
            .collect(),
        ..Settings::default()
    };
    let at_once = Shape::Fixed(0.0);
    let upstream = |(id, (_, wording, _)): (usize, &(&str, Wording, &str))| world::Upstream {
        provider: ProviderId::new(id as u16),
        wording: *wording,
        latency: Latency { shape: at_once, tokens_per_s: None, per: Per::Attempt },
        refusals: Refusals { overload: at_once, limit: at_once, request: at_once },
        pace: Pace { first_byte: 0.5, chunk_tokens: 25 },
        ..world::Upstream::default()
    };
    let mut world = world::Spec {
        keys: (0..MODELS.len() as u32).map(|project| world::Key { project, deaths: Vec::new() }).collect(),
        projects: vec![world::Project::default(); MODELS.len()],
        upstreams: MODELS.iter().enumerate().map(upstream).collect(),
        ..world::Spec::default()
    };
    change(&mut world);
    Case { day: Day { start: START, world, ..Day::default() }, settings: Arc::new(settings), ..Case::default() }
}

/// A mock of a case on whose clock no time passes unless it is told to.
pub(crate) async fn standing(case: &Case, manners: Manners) -> Mock {
    let listen = ([127, 0, 0, 1], 0).into();
    let setup = Setup { case, seed: 1, listen, control: None, time_scale: 0, manners };
    Mock::start(setup).await.expect("a free port")
}
