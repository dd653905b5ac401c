//! The live proxy: the same router that the simulator drives, driven by real requests.
//!
//! ```text
//! client ── front ── exchange ──────────────── upstream ── provider
//!             │          ▲  │  bodies stream past the driver
//!      Arrived│   orders │  │ FirstByte, Finished
//!             ▼          │  ▼
//!           driver ── router ── event log
//! ```
//!
//! Every handler runs in its connection's task and speaks with the one `driver` task: one hop there, one note back.
//! The driver owns the router and lets no decision leave before it is on record. What is decided is
//! carried out by the `exchange`; once the router commits a client to an attempt, `relay` streams it.

mod admin;
mod attempt;
mod auth;
mod body;
mod by_size;
mod clock;
mod deadline;
mod defaults;
mod door;
mod driver;
mod early;
mod exchange;
mod exposure;
mod front;
mod gen_ai;
mod images;
mod journal;
mod keys;
mod live;
mod mailbox;
mod message;
mod metrics;
mod models;
mod refusal;
mod relay;
mod reload;
mod respond;
mod serve;
mod server;
mod site;
mod stall;
mod start;
mod tls;
mod translate;
mod upstream;

pub use admin::{AdminClient, AdminError, Order, OrderedAction, Status};
pub use clock::{Clock, wall_now};
pub use defaults::{Assumed, KEYS_VARIABLE, assume};
pub use images::ImageRules;
pub use journal::{Journal, NoJournal};
pub use keys::{Finding, KeyCheck, check_keys};
pub use live::{Live, Rules, Token};
pub use message::View;
pub use reload::{LoadError, Source};
pub use serve::{Options, ServeError, Serving, Told};
pub use site::{SiteError, live};
pub use start::{Listeners, Proxy, Setup, StartError};
pub use tls::{TlsError, check_tls};
pub use upstream::{Credential, Target, TargetError};
