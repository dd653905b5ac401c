//! The pool of the measurements: 21 free keys, 2 paid ones, 2 at Mistral, and providers that answer after 30 ms.

use stormproof_router::core::{
    Deployment, Duration, Fingerprint, Key, KeyId, Limits, Model, ModelId, Price, Project, ProjectId, Provider,
    ProviderId, Settings, Tier, TierId, Timeouts, Timestamp, Upstream, UpstreamId,
};
use stormproof_simulator::baselines::litellm::{Options, Version};
use stormproof_simulator::clients::{Arrivals, Rate, Spec};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::engine::Day;
use stormproof_simulator::world;

use crate::watch::at;

pub(crate) const FREE_KEYS: u32 = 21;
pub(crate) const PAID_KEYS: u32 = 2;
pub(crate) const FREE: UpstreamId = UpstreamId::new(0);
pub(crate) const PAID: UpstreamId = UpstreamId::new(1);
pub(crate) const MISTRAL: UpstreamId = UpstreamId::new(2);

/// Tiers `free`, `paid` and `mistral` with one model each, in this order.
pub(crate) fn settings() -> Settings {
    let tiers = [("free", FREE_KEYS), ("paid", PAID_KEYS), ("mistral", 2)];
    let models = ["gemini-2.5-pro", "gemini-2.5-pro-preview", "mistral-large"];
    let upstreams = ["gemini-2.5-pro-exp-03-25", "gemini-2.5-pro-preview-03-25", "mistral-large-latest"];
    let mut settings = Settings {
        seed: 1,
        providers: ["gemini", "mistral"].map(|name| Provider { name: name.to_owned() }).to_vec(),
        ..Settings::default()
    };
    for (index, (name, keys)) in tiers.into_iter().enumerate() {
        let tier = TierId::new(index as u16);
        let provider = ProviderId::new((index / 2) as u16);
        settings.upstreams.push(Upstream { provider, model: upstreams[index].to_owned() });
        settings.tiers.push(Tier {
            name: name.to_owned(),
            upstream: UpstreamId::new(index as u16),
            limits: Limits::default(),
            price: Price::default(),
            budget: None,
            input_max: None,
            output_max: None,
            timeouts: Timeouts::default(),
        });
        settings.models.push(Model {
            name: models[index].to_owned(),
            tiers: vec![tier],
            deadline: Duration::from_secs(180),
            context_fallback: None,
            content_fallback: None,
        });
        for number in 1..=keys {
            let key = KeyId::new(settings.keys.len() as u32);
            let project = ProjectId::new(settings.projects.len() as u32);
            let key_name = format!("{name}-{number:02}");
            settings.projects.push(Project { name: key_name.clone(), provider });
            let fingerprint = Fingerprint::new((u64::from(key.get()) + 1).to_le_bytes());
            settings.keys.push(Key { name: key_name, fingerprint, project });
            settings.deployments.push(Deployment { tier, key, weight: 1, order: 0 });
        }
    }
    settings
}

/// Providers without limits that answer everything after 30 ms.
fn providers() -> world::Spec {
    let settings = settings();
    let promptly = Shape::Fixed(0.03);
    let upstream = |provider| world::Upstream {
        provider,
        latency: world::Latency { shape: promptly, ..world::Latency::default() },
        refusals: world::Refusals { overload: promptly, limit: promptly, request: promptly },
        ..world::Upstream::default()
    };
    world::Spec {
        keys: (0..settings.keys.len())
            .map(|project| world::Key { project: project as u32, deaths: Vec::new() })
            .collect(),
        projects: vec![world::Project::default(); settings.keys.len()],
        upstreams: settings.upstreams.iter().map(|of| upstream(of.provider)).collect(),
        ..world::Spec::default()
    }
}

/// `count` requests for the free model, `rate` a second at a constant pace, from clients that never ask again.
pub(crate) fn day(count: usize, rate: f64, stream: bool) -> Day {
    let steady = Arrivals::Even(vec![Rate { from: Timestamp::ZERO, per_s: rate }]);
    let client = Spec { stream, ..Spec::simple(ModelId::new(0), steady, Duration::from_secs(300)) };
    let duration = Duration::from_secs_f64((count as f64 - 0.5) / rate);
    Day { duration, world: providers(), clients: vec![client], ..Day::default() }
}

/// Lets an upstream model answer nothing but 503 in this interval.
pub(crate) fn overload(day: &mut Day, upstream: UpstreamId, from: f64, until: f64) {
    let episode = world::Episode { from: at(from), until: at(until), p503: 1.0 };
    day.world.upstreams[upstream.index()].weather.episodes.push(episode);
}

/// Lets every key have so many requests of an upstream model in any 60 s.
pub(crate) fn limit(day: &mut Day, upstream: UpstreamId, rpm: u32) {
    for project in &mut day.world.projects {
        project.quotas.resize(upstream.index() + 1, world::Quota::default());
        project.quotas[upstream.index()].rpm = Some(rpm);
    }
}

/// The options of the measurements: 2000 s on the bench, the free model falls back to the paid one.
pub(crate) fn options(version: Version) -> Options {
    let mut options = Options::new(version);
    options.cooldown_time = Duration::from_secs(2000).into();
    options.fallbacks.insert("gemini-2.5-pro".to_owned(), vec!["gemini-2.5-pro-preview".to_owned()]);
    options
}
