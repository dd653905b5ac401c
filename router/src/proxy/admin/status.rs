//! What an operator needs at 5 a.m.: what is wrong and since when and whose fault, what is left and for how long, what
//! it costs, what needs attention, and what will happen next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::onset::{self, Onsets, Trouble, dollars};
use crate::core::{
    Cause, ClientView, CooldownView, KeyId, LoadView, Model, PowerLoss, Provenance, Router, Scope, Settings, TierView,
    Timestamp, Usd, WallTime,
};
use crate::proxy::door::Door;
use crate::proxy::metrics::Metrics;
use crate::proxy::refusal::{moment, words};

/// The whole picture. Times are UTC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// When it was taken.
    pub now: String,
    /// What needs somebody's attention, most urgent first; empty on a good day.
    pub attention: Vec<String>,
    /// What is wrong, since when, and whose fault it is.
    pub troubles: Vec<TroubleStatus>,
    /// By public name.
    pub models: Vec<ModelStatus>,
    /// Every tier.
    pub tiers: Vec<TierStatus>,
    /// Clients with their money.
    pub clients: Vec<ClientStatus>,
    /// Requests without an outcome.
    pub requests: usize,
    /// Those of them that wait for capacity.
    pub waiting: usize,
    /// Attempts in flight.
    pub attempts: usize,
    /// Money spent today, in dollars.
    pub spent_today_usd: f64,
    /// The part of it that nobody has confirmed: calls that broke off count with the most that they can have cost.
    pub assumed_today_usd: f64,
    /// The same at the reset, if it goes on as in the last ten minutes.
    pub expected_today_usd: f64,
    /// When the quota day ends.
    pub resets: String,
    /// What will happen by itself, soonest first.
    pub next: Vec<String>,
    /// Why the log takes nothing, if it does not.
    pub log_problem: Option<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TroubleStatus {
    /// What it concerns.
    pub what: String,
    /// What is wrong.
    pub cause: String,
    /// Whose fault it is.
    pub fault: String,
    /// Since when it has been seen.
    pub since: Option<String>,
    /// When it ends by itself.
    pub until: Option<String>,
    /// Who says so.
    pub says: String,
}

/// One public model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// `good`, `degraded`, `fallback` (its first tier serves nobody) or `down`.
    pub state: String,
    /// The tier that a request would be served by now.
    pub served_by: Option<String>,
    /// What is wrong with its tiers.
    pub wrong: Vec<TroubleStatus>,
    /// Requests since the process started, by outcome.
    pub requests: BTreeMap<String, u64>,
    /// Requests that its tiers can take until the reset, where all of them are limited.
    pub left_today: Option<u64>,
    /// When the last of its tiers will have used up its day at the present rate; `None` if not before the reset.
    pub runs_out: Option<String>,
    /// Spent today on its tiers, other models' requests included, in dollars.
    pub spent_usd: f64,
}

/// One tier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TierStatus {
    /// Its name.
    pub name: String,
    /// What it serves.
    pub upstream: String,
    /// Deployments that may be used.
    pub usable: u32,
    /// Deployments in all.
    pub deployments: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Estimated probability that a call fails.
    pub failure: f64,
    /// Whether its model is degraded.
    pub degraded: bool,
    /// Requests left until the reset.
    pub left_today: Option<u64>,
    /// Requests per minute that want it first.
    pub demand_rpm: f64,
    /// When the day's quota will be used up at the present rate; `None` if not before the reset.
    pub runs_out: Option<String>,
    /// Spent today, in dollars.
    pub spent_usd: f64,
    /// The part of it that nobody has confirmed, in dollars.
    pub assumed_usd: f64,
    /// What today may cost, in dollars.
    pub budget_usd: Option<f64>,
}

/// One client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// Spent today, in dollars.
    pub spent_usd: f64,
    /// What today may cost, in dollars.
    pub budget_usd: Option<f64>,
}

/// What is asked of the driver; everything else is worked out elsewhere.
pub(super) struct Look {
    pub(super) now: Timestamp,
    pub(super) settings: std::sync::Arc<Settings>,
    pub(super) tiers: Vec<TierView>,
    pub(super) cooldowns: Vec<CooldownView>,
    pub(super) clients: Vec<ClientView>,
    pub(super) load: LoadView,
    pub(super) log_problem: Option<String>,
    pub(super) power_lost: Option<PowerLoss>,
}

impl Look {
    /// Asks the driver; `None` when it is gone.
    pub(super) async fn take(door: &Door<Router>) -> Option<Self> {
        let look = |view: crate::proxy::message::View<'_, Router>| Self {
            now: view.now,
            settings: std::sync::Arc::clone(&view.live.settings),
            tiers: view.router.tiers(),
            cooldowns: view.router.cooldowns(),
            clients: view.router.clients(),
            load: view.router.load(),
            log_problem: view.log_problem.map(str::to_owned),
            power_lost: view.router.power_lost(),
        };
        door.handle.inspect(look).await
    }

    /// When a tier's day quota will be used up at the present rate, if that is before the reset.
    pub(super) fn runs_out(&self, tier: &TierView) -> Option<Timestamp> {
        let left = tier.left_today?;
        let secs = left as f64 / tier.demand.max(1e-12);
        let at = self.now + crate::core::Duration::from_secs_f64(secs);
        (at < tier.resets).then_some(at)
    }
}

impl Look {
    /// Whether what rests in this scope is missing in a tier.
    fn concerns(&self, scope: Scope, tier: &TierView) -> bool {
        let has_key = |of: &dyn Fn(KeyId) -> bool| {
            self.settings.deployments.iter().any(|deployment| deployment.tier == tier.tier && of(deployment.key))
        };
        match scope {
            Scope::Key(key) => has_key(&|its| its == key),
            Scope::ProjectModel(project, upstream) => {
                tier.upstream == upstream && has_key(&|its| self.settings.keys[its.index()].project == project)
            }
            Scope::Upstream(upstream) => tier.upstream == upstream,
            Scope::Provider(provider) => self.settings.upstreams[tier.upstream.index()].provider == provider,
        }
    }
}

/// Takes the picture; `None` when the driver is gone.
pub(super) async fn look(door: &Door<Router>, onsets: &Onsets) -> Option<Status> {
    onset::look(door, onsets).await?;
    let look = Look::take(door).await?;
    let clock = Times { now: look.now, wall: door.clock.wall() };
    let resets = look.tiers.first().map_or(Timestamp::MAX, |tier| tier.resets);
    let spent = dollars(look.tiers.iter().map(|tier| tier.spent));
    let expected = spent + onsets.spend_rate() * resets.since(look.now).as_secs_f64().min(86_400.0);
    Some(Status {
        now: clock.text(look.now),
        attention: attention(&look, &clock, door.metrics.log_state().dropped),
        troubles: troubles(&look, &clock, onsets).into_iter().map(|(_, trouble)| trouble).collect(),
        models: model_statuses(&look, &clock, onsets, &door.metrics),
        tiers: look.tiers.iter().map(|tier| tier_status(&look, tier, &clock)).collect(),
        clients: look.clients.iter().map(|client| client_status(&look, client)).collect(),
        requests: look.load.requests,
        waiting: look.load.waiting,
        attempts: look.load.attempts,
        spent_today_usd: spent,
        assumed_today_usd: dollars(look.tiers.iter().map(|tier| tier.assumed)),
        expected_today_usd: expected,
        resets: clock.text(resets),
        next: next(&look, &clock),
        log_problem: look.log_problem,
    })
}

/// Turns the router's time into the wall's.
struct Times {
    now: Timestamp,
    wall: WallTime,
}

impl Times {
    fn text(&self, at: Timestamp) -> String {
        let ahead = at.since(self.now);
        let behind = self.now.since(at);
        let wall = WallTime::from_nanos((self.wall + ahead).as_nanos().saturating_sub(behind.as_nanos()));
        moment(wall, self.wall)
    }
}

fn attention(look: &Look, clock: &Times, dropped: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if dropped > 0 {
        notes.push(format!("{dropped} events are not on record: the event log cannot be written"));
    }
    if let Some(problem) = &look.log_problem {
        notes.push(format!("no request is let in: {problem}"));
    }
    if let Some(PowerLoss { since, requests, requests_each, money, .. }) = look.power_lost {
        notes.push(format!(
            "the power failed after {}, as far as can be told: {requests} requests ({requests_each} of a key at most) and \
             {money} count as used, for what was spent then may not be on record",
            clock.text(since)
        ));
    }
    for (model, _, _) in models(look).into_iter().filter(|(_, state, _)| *state == "down") {
        notes.push(format!("`{}` is down: no tier of it is usable", model.name));
    }
    for cooldown in &look.cooldowns {
        match cooldown.cause {
            Cause::Dead => notes.push(format!("{} is retired: replace it", scope_name(&look.settings, cooldown.scope))),
            Cause::Auth => notes.push(format!(
                "{} is refused by its provider: check the credential",
                scope_name(&look.settings, cooldown.scope)
            )),
            Cause::Address => notes.push(format!(
                "{} throttles our address, whichever key calls",
                scope_name(&look.settings, cooldown.scope)
            )),
            Cause::None
            | Cause::RateMinute
            | Cause::TokensMinute
            | Cause::RateDay
            | Cause::RateUnknown
            | Cause::Overload
            | Cause::Server
            | Cause::NotFound
            | Cause::Request
            | Cause::StreamCut
            | Cause::Budget
            | Cause::ClientRate
            | Cause::ClientBudget
            | Cause::ClientModel
            | Cause::RetryBudget
            | Cause::Attempts
            | Cause::Operator
            | Cause::ContextWindow
            | Cause::ContentBlocked
            | Cause::Deadline => {}
        }
    }
    for tier in &look.tiers {
        let name = tier_name(&look.settings, tier);
        if let Some(at) = look.runs_out(tier) {
            notes.push(format!("`{name}` will have used up its day at {} at the present rate", clock.text(at)));
        }
        if tier.budget.is_some_and(|budget| tier.spent.as_f64() >= 0.9 * budget.as_f64()) {
            notes.push(format!("`{name}` has spent {} of its budget", tier.spent));
        }
    }
    notes
}

/// What is wrong, with the scope that it concerns.
fn troubles(look: &Look, clock: &Times, onsets: &Onsets) -> Vec<(Scope, TroubleStatus)> {
    let since = |trouble| onsets.since(trouble).map(|since| clock.text(since));
    let mut overloaded: Vec<&TierView> = look.tiers.iter().filter(|tier| tier.degraded).collect();
    // Tiers share the upstream model's health.
    overloaded.dedup_by_key(|tier| tier.upstream);
    let degraded = overloaded.into_iter().map(|tier| {
        let trouble = TroubleStatus {
            what: format!("model {}", upstream_name(&look.settings, tier)),
            cause: format!("degraded: {:.0} % of calls fail", tier.failure * 100.0),
            fault: "the provider's".to_owned(),
            since: since(Trouble::Degraded(tier.upstream)),
            until: None,
            says: "our count".to_owned(),
        };
        (Scope::Upstream(tier.upstream), trouble)
    });
    let resting = look.cooldowns.iter().map(|cooldown| {
        let trouble = TroubleStatus {
            what: scope_name(&look.settings, cooldown.scope),
            cause: words(cooldown.cause).to_owned(),
            fault: fault(cooldown.cause).to_owned(),
            since: since(Trouble::Resting(cooldown.scope, cooldown.cause)),
            until: (cooldown.until < Timestamp::MAX).then(|| clock.text(cooldown.until)),
            says: match cooldown.provenance {
                Provenance::Authoritative => "the provider",
                Provenance::Inferred => "a rule of ours",
                Provenance::Operator => "an operator",
            }
            .to_owned(),
        };
        (cooldown.scope, trouble)
    });
    degraded.chain(resting).collect()
}

/// Whose fault a cause is.
fn fault(cause: Cause) -> &'static str {
    match cause {
        Cause::Overload | Cause::Server | Cause::StreamCut => "the provider's",
        Cause::RateMinute | Cause::TokensMinute | Cause::RateDay | Cause::RateUnknown | Cause::Address => {
            "ours: more was sent than the quota allows"
        }
        Cause::Auth | Cause::Dead => "the key's",
        Cause::NotFound => "the configuration's, or the provider's",
        Cause::Operator => "nobody's: an order",
        Cause::Request
        | Cause::ClientRate
        | Cause::ClientBudget
        | Cause::ClientModel
        | Cause::ContextWindow
        | Cause::ContentBlocked => "the client's",
        Cause::None | Cause::Budget | Cause::RetryBudget | Cause::Attempts | Cause::Deadline => {
            "nobody's: a limit of ours"
        }
    }
}

/// Every model with its state, and the tier that would serve it now.
fn models<'a>(look: &'a Look) -> Vec<(&'a Model, &'static str, Option<&'a str>)> {
    let usable = |tier: &crate::core::TierId| {
        look.tiers.get(tier.index()).is_some_and(|view| view.usable > 0 && view.skipped <= look.now && affordable(view))
    };
    let status = |model: &'a Model| {
        let serving = model.tiers.iter().position(usable);
        let degraded =
            model.tiers.first().and_then(|tier| look.tiers.get(tier.index())).is_some_and(|tier| tier.degraded);
        let state = match serving {
            Some(0) if degraded => "degraded",
            Some(0) => "good",
            Some(_) => "fallback",
            None => "down",
        };
        let served_by = serving.and_then(|place| look.settings.tiers.get(model.tiers[place].index()));
        (model, state, served_by.map(|tier| tier.name.as_str()))
    };
    look.settings.models.iter().map(status).collect()
}

fn model_statuses(look: &Look, clock: &Times, onsets: &Onsets, metrics: &Metrics) -> Vec<ModelStatus> {
    let requests = metrics.requests();
    let status = |(model, state, served_by): (&Model, &str, Option<&str>)| {
        let tiers = || model.tiers.iter().filter_map(|tier| look.tiers.get(tier.index()));
        let seen = requests.get(model.name.as_str());
        let wrong = troubles(look, clock, onsets).into_iter();
        let concerns = |scope: &Scope| tiers().any(|tier| look.concerns(*scope, tier));
        ModelStatus {
            name: model.name.clone(),
            state: state.to_owned(),
            served_by: served_by.map(str::to_owned),
            wrong: wrong.filter(|(scope, _)| concerns(scope)).map(|(_, trouble)| trouble).collect(),
            requests: seen.into_iter().flatten().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            left_today: tiers().map(|tier| tier.left_today).sum(),
            runs_out: tiers()
                .map(|tier| look.runs_out(tier))
                .collect::<Option<Vec<_>>>()
                .and_then(|at| at.into_iter().max())
                .map(|at| clock.text(at)),
            spent_usd: dollars(tiers().map(|tier| tier.spent)),
        }
    };
    models(look).into_iter().map(status).collect()
}

fn affordable(tier: &TierView) -> bool {
    tier.budget.is_none_or(|budget| tier.spent + tier.reserved < budget)
}

fn tier_status(look: &Look, tier: &TierView, clock: &Times) -> TierStatus {
    TierStatus {
        name: tier_name(&look.settings, tier).to_owned(),
        upstream: upstream_name(&look.settings, tier).to_owned(),
        usable: tier.usable,
        deployments: tier.deployments,
        in_flight: tier.in_flight,
        failure: tier.failure,
        degraded: tier.degraded,
        left_today: tier.left_today,
        demand_rpm: tier.demand * 60.0,
        runs_out: look.runs_out(tier).map(|at| clock.text(at)),
        spent_usd: tier.spent.as_f64(),
        assumed_usd: tier.assumed.as_f64(),
        budget_usd: tier.budget.map(Usd::as_f64),
    }
}

fn client_status(look: &Look, client: &ClientView) -> ClientStatus {
    let name = look.settings.clients.get(client.client.index()).map_or("?", |client| client.name.as_str());
    ClientStatus { name: name.to_owned(), spent_usd: client.spent.as_f64(), budget_usd: client.budget.map(Usd::as_f64) }
}

fn next(look: &Look, clock: &Times) -> Vec<String> {
    let ends = look.cooldowns.iter().filter(|cooldown| cooldown.until < Timestamp::MAX).map(|cooldown| {
        let what = scope_name(&look.settings, cooldown.scope);
        (cooldown.until, format!("{}: {what} comes back", clock.text(cooldown.until)))
    });
    let reset = look.tiers.first().map(|tier| {
        (tier.resets, format!("{}: the quota day ends, day quotas and budgets begin anew", clock.text(tier.resets)))
    });
    let mut events: Vec<(Timestamp, String)> = ends.chain(reset).collect();
    events.sort();
    events.into_iter().map(|(_, event)| event).take(10).collect()
}

/// The name of a tier.
pub(super) fn tier_name<'a>(settings: &'a Settings, tier: &TierView) -> &'a str {
    settings.tiers.get(tier.tier.index()).map_or("?", |tier| tier.name.as_str())
}

fn upstream_name<'a>(settings: &'a Settings, tier: &TierView) -> &'a str {
    settings.upstreams.get(tier.upstream.index()).map_or("?", |upstream| upstream.model.as_str())
}

fn scope_name(settings: &Settings, scope: Scope) -> String {
    let upstream = |id: crate::core::UpstreamId| {
        settings.upstreams.get(id.index()).map_or_else(|| "?".to_owned(), |upstream| upstream.model.clone())
    };
    match scope {
        Scope::Key(key) => {
            settings.keys.get(key.index()).map_or_else(|| "a key".to_owned(), |key| format!("key {}", key.name))
        }
        Scope::ProjectModel(project, model) => {
            let mut keys = settings.keys.iter().filter(|key| key.project == project).map(|key| key.name.as_str());
            let first = keys.next().unwrap_or("?");
            let others = keys.count();
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            format!("{first}{more} for {}", upstream(model))
        }
        Scope::Upstream(model) => format!("model {}", upstream(model)),
        Scope::Provider(provider) => settings
            .providers
            .get(provider.index())
            .map_or_else(|| "a provider".to_owned(), |provider| format!("provider {}", provider.name)),
    }
}
