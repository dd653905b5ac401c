//! The mock, and `serve` in front of it, on one clock.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use stormproof_router::config::{MemoryEnvironment, Node};
use stormproof_router::core::{Action, Timestamp};
use stormproof_router::log::BootId;
use stormproof_router::proxy::{AdminClient, Options, Serving, Source};
use stormproof_simulator::draws::Stream;
use stormproof_simulator::engine::Happening;
use stormproof_simulator::mock::{Manners, Mock, Setup, configuration, token};
use stormproof_simulator::scenario::Document;
use stormproof_simulator::study::Case;
use tempfile::TempDir;

/// Both of them, running.
pub(crate) struct Stage {
    pub(crate) case: Case,
    pub(crate) seed: u64,
    pub(crate) mock: Mock,
    pub(crate) serving: Serving,
    scale: u32,
    folder: TempDir,
}

impl Stage {
    /// Opens a scenario's day, `scale` times faster than the world, at the scenario's start. Router and world draw what
    /// they draw in the simulator for this seed.
    pub(crate) async fn open(document: &Document, seed: u64, scale: u32, manners: Manners) -> Self {
        let case = document.scenario().expect("a good scenario").case;
        let any = ([127, 0, 0, 1], 0).into();
        let setup = Setup { case: &case, seed, listen: any, control: None, time_scale: scale, manners };
        let mock = Mock::start(setup).await.expect("a free port");
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = configuration(document.config(), &case.settings, mock.address()).expect("good names");
        let log = folder.path().join("log").display().to_string();
        let drawn = Stream::Router.draw(seed, 0, 0).to_string();
        for (path, value) in [
            ("listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.2:0"),
            ("admin.token", &token("admin")),
            ("log.dir", &log),
            ("seed", &drawn),
        ] {
            let origin = "the stage".into();
            config.set(path, Node::parse(&format!("\"{value}\""), &origin).expect("a text"));
        }
        let options = Options {
            source: Source::Text(config.to_json().into()),
            environment: Arc::new(MemoryEnvironment::default()),
            boot: BootId::current(),
            time_scale: NonZeroU32::new(scale).expect("time passes"),
            roots: None,
        };
        let now = case.day.start + mock.now().since(Timestamp::ZERO);
        let serving = Serving::rehearse(options, now).await.expect("a good configuration");
        let stage = Self { case, seed, mock, serving, scale, folder };
        stage.give_orders().await;
        stage
    }

    /// What the scenario's operator says at the start.
    async fn give_orders(&self) {
        let address = self.serving.admin_address().expect("an operators' listener");
        let admin = AdminClient::new(&format!("http://{address}"), &token("admin").into()).expect("an address");
        let settings = &self.case.settings;
        for (at, happening) in &self.case.day.happenings {
            let Happening::Operator(Action::SetUsed { project, upstream, requests }) = happening else { continue };
            assert_eq!(*at, Timestamp::ZERO, "only what is said at the start");
            let key = settings.keys.iter().find(|key| key.project == *project).expect("a key of the project");
            let upstream = &settings.upstreams[upstream.index()].model;
            let order = json!({"do": "set-used", "author": "scenario", "key": key.name, "upstream": upstream,
                "requests": requests});
            admin.act(&serde_json::from_value(order).expect("an order")).await.expect("obedience");
        }
    }

    /// The scenario's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.mock.now()
    }

    /// How long the world takes for that much of the scenario's time.
    pub(crate) fn real(&self, duration: stormproof_router::core::Duration) -> std::time::Duration {
        std::time::Duration::from(duration) / self.scale
    }

    /// Waits until that moment of the scenario.
    pub(crate) async fn until(&self, moment: Timestamp) {
        tokio::time::sleep(self.real(moment.since(self.now()))).await;
    }

    /// Ends in order. What is left is the mock, with what it has seen, and the proxy's log.
    pub(crate) async fn close(self) -> Closed {
        self.serving.stop().await;
        Closed { case: self.case, mock: self.mock, log: self.folder.path().join("log"), _folder: self.folder }
    }
}

/// What is left of a day.
pub(crate) struct Closed {
    pub(crate) case: Case,
    pub(crate) mock: Mock,
    pub(crate) log: PathBuf,
    _folder: TempDir,
}
