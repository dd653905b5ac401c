//! A proxy with scripted providers behind it and plain HTTP clients before it, all over real sockets.

pub(crate) mod provider;
pub(crate) mod route;

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::SecretString;
use stormproof_router::core::{
    self, Deployment, Duration, Fingerprint, Key, KeyId, Limits, Model, Price, Priority, Project, ProjectId, Provider,
    ProviderId, RequestId, Settings, Tier, TierId, Timeouts, Timestamp, Upstream, UpstreamId,
};
use stormproof_router::log::InFlight;
use stormproof_router::proxy::{
    Clock, Credential, Journal, Listeners, Live, NoJournal, Proxy, Rules, Setup, Target, Token, wall_now,
};
use stormproof_router::wire::Dialect;
use tokio::net::TcpListener;

use self::route::FirstCome;

/// What every key's secret begins with; no test may ever see it outside of a provider.
pub(crate) const SECRET: &str = "hush-hush-";

/// One provider of the pool under test.
pub(crate) struct Backend {
    pub dialect: Dialect,
    pub address: std::net::SocketAddr,
}

/// A proxy under test.
pub(crate) struct Pool {
    pub proxy: Proxy<FirstCome>,
    pub client: Client<HttpConnector, Full<Bytes>>,
}

/// What a proxy is started with.
#[derive(Clone)]
pub(crate) struct Plan {
    pub backends: Vec<(Dialect, std::net::SocketAddr)>,
    pub timeouts: Timeouts,
    pub deadline: Duration,
    pub body_max: usize,
    pub early_stream: Option<Duration>,
    pub tokens: Vec<&'static str>,
}

impl Plan {
    /// A model `m` of one tier per backend, each with one key.
    pub(crate) fn new(backends: &[Backend]) -> Self {
        Self {
            backends: backends.iter().map(|backend| (backend.dialect, backend.address)).collect(),
            timeouts: Timeouts::default(),
            deadline: Duration::from_secs(30),
            body_max: 1 << 20,
            early_stream: None,
            tokens: Vec::new(),
        }
    }

    pub(crate) fn live(&self) -> Live {
        let count = self.backends.len() as u16;
        let ids = |make: &dyn Fn(u16)| (0..count).for_each(make);
        let mut settings = Settings::default();
        let settings_cell = std::cell::RefCell::new(&mut settings);
        ids(&|index| {
            let mut settings = settings_cell.borrow_mut();
            settings.providers.push(Provider { name: format!("provider-{index}") });
            settings.upstreams.push(Upstream { provider: ProviderId::new(index), model: format!("upstream-{index}") });
            let provider = ProviderId::new(index);
            settings.projects.push(Project { name: format!("project-{index}"), provider });
            settings.keys.push(Key {
                name: format!("key-{index}"),
                fingerprint: Fingerprint::new([index as u8 + 1; 8]),
                project: ProjectId::new(index.into()),
            });
            settings.tiers.push(Tier {
                name: format!("tier-{index}"),
                upstream: UpstreamId::new(index),
                limits: Limits::default(),
                price: Price::default(),
                budget: None,
                input_max: None,
                output_max: None,
                timeouts: self.timeouts,
            });
            let (tier, key) = (TierId::new(index), KeyId::new(index.into()));
            settings.deployments.push(Deployment { tier, key, weight: 1, order: 0 });
        });
        settings.models.push(Model {
            name: "m".into(),
            tiers: (0..count).map(TierId::new).collect(),
            deadline: self.deadline,
            context_fallback: None,
            content_fallback: None,
        });
        for name in std::iter::once("anonymous").chain(self.tokens.iter().copied()) {
            settings.clients.push(core::Client {
                name: name.into(),
                priority: Priority::Normal,
                budget: None,
                rpm: None,
                tpm: None,
                models: None,
            });
        }
        let secrets: Vec<SecretString> =
            (0..count).map(|index| SecretString::from(format!("{SECRET}{index}"))).collect();
        let targets = self.backends.iter().enumerate().map(|(index, (dialect, address))| {
            let (base, credential) = match dialect {
                Dialect::Gemini => (format!("http://{address}/v1beta"), Credential::GoogleKey),
                Dialect::Vertex => (format!("http://{address}/v1/projects/p/locations/l"), Credential::Bearer),
                Dialect::OpenAi => (format!("http://{address}/v1"), Credential::Bearer),
            };
            Target::new(*dialect, &base, &format!("upstream-{index}"), credential, "key", &secrets[index])
                .expect("a good target")
        });
        let targets = targets.collect();
        let tokens = self.tokens.iter().enumerate().map(|(index, token)| Token {
            sha256: sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(token)).into(),
            client: core::ClientId::new(index as u16 + 1),
        });
        let rules = Rules {
            deadline_header: HeaderName::from_static("x-deadline"),
            deadline_min: Duration::from_millis(1),
            deadline_max: Duration::from_secs(3600),
            body_max: self.body_max,
            early_stream: self.early_stream,
            images: None,
        };
        Live::new(Arc::new(settings), targets, secrets, tokens.collect(), rules)
    }

    pub(crate) async fn start(self) -> Pool {
        self.start_with(NoJournal).await
    }

    pub(crate) async fn start_with<J: Journal>(self, journal: J) -> Pool {
        let front = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let setup = Setup {
            router: FirstCome::default(),
            journal,
            clock: Clock::start(wall_now(), Timestamp::ZERO, NonZeroU32::MIN),
            live: self.live(),
            last_request: RequestId::new(0),
            lost: InFlight::default(),
            power_lost: None,
            at_risk: core::AtRisk::NONE,
            roots: None,
        };
        let proxy = Proxy::start(setup, Listeners { front, tls: None }).expect("it starts");
        Pool { proxy, client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl Pool {
    /// Calls the proxy; the head of its answer.
    pub(crate) async fn call(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        self.try_call(path, headers, body).await.expect("an answer")
    }

    pub(crate) async fn try_call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.proxy.address()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        self.client.request(request).await
    }

    /// Calls the proxy and reads the whole answer.
    pub(crate) async fn ask(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (http::response::Parts, String) {
        let (head, body) = self.call(path, headers, body).await.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        (head, String::from_utf8(bytes.to_vec()).expect("text"))
    }
}

/// Reads a stream; its text and whether it ended cleanly.
pub(crate) async fn read(response: Response<Incoming>) -> (String, bool) {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => return (String::from_utf8(text).expect("text"), false),
        }
    }
    (String::from_utf8(text).expect("text"), true)
}
