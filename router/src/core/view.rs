//! What the router believes, read-only: for a status page, metrics and the reports of a simulation.

use super::cooldown::Cooldown;
use super::ids::{ClientId, KeyId, TierId, UpstreamId};
use super::input::Scope;
use super::observer::Provenance;
use super::output::Cause;
use super::router::Router;
use super::state::Stage;
use super::time::Timestamp;
use super::units::Usd;

/// How one tier stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TierView {
    /// Which.
    pub tier: TierId,
    /// What it serves.
    pub upstream: UpstreamId,
    /// Deployments in all.
    pub deployments: u32,
    /// Deployments that no cooldown, drain or used-up day forbids.
    pub usable: u32,
    /// Attempts in flight on them.
    pub in_flight: u32,
    /// Requests per minute over all projects, where limited.
    pub rpm: Option<u32>,
    /// Requests of the last minute that count.
    pub used_minute: u32,
    /// Requests left until the reset, where limited.
    pub left_today: Option<u64>,
    /// When the quota day ends.
    pub resets: Timestamp,
    /// Requests per second that want it first, over the last ten minutes.
    pub demand: f64,
    /// Whether its quota falls short of the forecast demand.
    pub starved: bool,
    /// Estimated probability that a call fails.
    pub failure: f64,
    /// Whether its model is degraded.
    pub degraded: bool,
    /// Spent today.
    pub spent: Usd,
    /// The part of it that is the worst case of calls which did not say what they used.
    pub assumed: Usd,
    /// Set aside for attempts in flight.
    pub reserved: Usd,
    /// The budget of the running day.
    pub budget: Option<Usd>,
    /// Until when an operator's order keeps it from being used; in the past when none does.
    pub skipped: Timestamp,
}

/// One cooldown in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CooldownView {
    /// What rests.
    pub scope: Scope,
    /// Why.
    pub cause: Cause,
    /// Until when; [`Timestamp::MAX`] for retired.
    pub until: Timestamp,
    /// Where the time comes from.
    pub provenance: Provenance,
}

/// How one client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Which.
    pub client: ClientId,
    /// Spent today.
    pub spent: Usd,
    /// The budget of the running day.
    pub budget: Option<Usd>,
}

/// How much is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadView {
    /// Requests without an outcome.
    pub requests: usize,
    /// Those of them that wait for capacity.
    pub waiting: usize,
    /// Attempts in flight, abandoned ones included.
    pub attempts: usize,
    /// The earliest deadline among the requests whose client has seen nothing yet.
    pub tightest_deadline: Option<Timestamp>,
}

impl Router {
    /// Every tier of the settings in force, at the time of the last input.
    pub fn tiers(&self) -> Vec<TierView> {
        (0..self.plan.tiers.len()).map(|index| self.tier(TierId::new(index as u16))).collect()
    }

    fn tier(&self, tier: TierId) -> TierView {
        let now = self.now;
        let (plan, spec) = (&self.plan.tiers[tier.index()], &self.plan.settings.tiers[tier.index()]);
        let (state, node) = (&self.tiers[plan.owner as usize], &self.nodes[plan.node as usize]);
        let knobs = &self.plan.settings.knobs;
        let count_errors = node.charging.counts(knobs.rate_charge_errors);
        let day = self.calendar.day();
        let left = |quota: u32| {
            let quota = &self.quotas[quota as usize];
            let limit = quota.rpd()?;
            Some(u64::from(limit.saturating_sub(quota.used_today(count_errors, day))))
        };
        let usable = |place: &super::plan::Place| {
            let key = &self.keys[place.key as usize];
            key.drained <= now
                && key.cooldown.active(now).is_none()
                && self.quotas[place.quota as usize].cooldown.active(now).is_none()
                && left(place.quota) != Some(0)
        };
        let places = || plan.deployments.iter().map(|deployment| &self.plan.places[deployment.index()]);
        TierView {
            tier,
            upstream: spec.upstream,
            deployments: plan.deployments.len() as u32,
            usable: places().filter(|place| usable(place)).count() as u32,
            in_flight: places().map(|place| self.sites[place.site as usize].in_flight).sum(),
            rpm: state.nominal_rpm,
            used_minute: plan
                .quotas
                .iter()
                .map(|quota| self.quotas[*quota as usize].used_minute(now, count_errors, self.rules().window).requests)
                .sum(),
            left_today: plan.quotas.iter().map(|quota| left(*quota)).sum(),
            resets: self.calendar.ends(),
            demand: state.demand.clone().per_second(now),
            starved: state.starved,
            failure: node.health.failure(now, knobs),
            degraded: node.health.is_degraded(),
            spent: state.purse.spent(day),
            assumed: state.purse.assumed(day),
            reserved: state.purse.reserved(),
            budget: state.purse.budget(day),
            skipped: state.skipped,
        }
    }

    /// Every cooldown in force, at the time of the last input.
    pub fn cooldowns(&self) -> Vec<CooldownView> {
        let mut views = Vec::new();
        let mut see = |scope: Option<Scope>, cooldown: &Cooldown| {
            if let (Some(scope), Some((until, cause, provenance))) = (scope, cooldown.active(self.now)) {
                let view = CooldownView { scope, cause, until, provenance };
                if !views.contains(&view) {
                    views.push(view);
                }
            }
        };
        for owner in &self.plan.providers {
            see(self.plan.provider_scope(*owner), &self.providers[*owner as usize]);
        }
        for (index, owner) in self.plan.keys.iter().enumerate() {
            see(Some(Scope::Key(KeyId::new(index as u32))), &self.keys[*owner as usize].cooldown);
        }
        for place in &self.plan.places {
            see(self.plan.quota_scope(place), &self.quotas[place.quota as usize].cooldown);
        }
        views
    }

    /// Every client of the settings in force.
    pub fn clients(&self) -> Vec<ClientView> {
        let day = self.calendar.day();
        let view = |(index, owner): (usize, &u32)| {
            let purse = &self.clients[*owner as usize].purse;
            ClientView { client: ClientId::new(index as u16), spent: purse.spent(day), budget: purse.budget(day) }
        };
        self.plan.clients.iter().enumerate().take(self.plan.settings.clients.len()).map(view).collect()
    }

    /// How much is going on.
    pub fn load(&self) -> LoadView {
        let unseen = self.requests.iter().filter(|(_, request)| request.stage != Stage::Relayed);
        LoadView {
            requests: self.requests.iter().count(),
            waiting: self.waiting.len(),
            attempts: self.attempts.iter().count(),
            tightest_deadline: unseen.map(|(_, request)| request.deadline).min(),
        }
    }
}
