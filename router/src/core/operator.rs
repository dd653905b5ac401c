//! What an operator may do. Orders are inputs like all others: recorded, replayed, and undone by other orders.

use super::cooldown::Sentence;
use super::input::{Action, Scope};
use super::observer::{Note, Observer, Provenance};
use super::output::Cause;
use super::router::{Router, Scene};
use super::state::TierState;
use super::time::Timestamp;

impl Router {
    /// Carries out an order; one about something that is not configured does nothing.
    pub(super) fn act<O: Observer>(&mut self, scene: &mut Scene<'_, O>, action: Action) {
        let day = self.calendar.day();
        match action {
            Action::ClearCooldown { scope } => self.clear(scene, scope),
            Action::DrainKey { key, until } => {
                if let Some(owner) = self.plan.keys.get(key.index()) {
                    self.keys[*owner as usize].drained = until;
                }
            }
            Action::RetireKey { key } => {
                if let Some(owner) = self.plan.keys.get(key.index()) {
                    let (until, cause, provenance) = (Timestamp::MAX, Cause::Dead, Provenance::Operator);
                    let sentence = Sentence { until, cause, provenance, half_open: false, early: None, streak: 1 };
                    self.keys[*owner as usize].cooldown.impose(scene.now, sentence);
                    scene.tell(|| Note::Cooled { scope: Scope::Key(key), cause, until, provenance });
                }
            }
            Action::RestoreKey { key } => {
                if let Some(owner) = self.plan.keys.get(key.index()) {
                    self.keys[*owner as usize].drained = Timestamp::ZERO;
                }
                self.clear(scene, Scope::Key(key));
            }
            Action::SetUsed { project, upstream, requests } => {
                if let Some(quota) = self.register.quota(&self.plan, project, upstream) {
                    self.quotas[quota as usize].set_used_today(requests, day);
                }
            }
            Action::SkipTier { tier, until } => self.order(tier, |state| state.skipped = until),
            Action::PinTier { tier, until } => self.order(tier, |state| state.pinned = until),
            Action::FreeTier { tier } => {
                self.order(tier, |state| (state.skipped, state.pinned) = (Timestamp::ZERO, Timestamp::ZERO));
                let paid = self.plan.settings.tiers.get(tier.index()).is_some_and(|tier| !tier.price.is_free());
                if paid {
                    self.paid_stopped = Timestamp::ZERO;
                }
            }
            Action::StopPaid { until } => self.paid_stopped = until,
            Action::SetBudget { tier, budget } => self.order(tier, |state| state.purse.raise(budget, day)),
            Action::SetClientBudget { client, budget } => {
                if let Some(owner) = self.plan.clients.get(client.index()) {
                    self.clients[*owner as usize].purse.raise(budget, day);
                }
            }
            Action::PowerLost { at_risk, since } => self.charge_unrecorded(scene, at_risk, since),
            Action::ForgetLimits { project, upstream } => {
                if let Some(quota) = self.register.quota(&self.plan, project, upstream) {
                    self.quotas[quota as usize].forget_learnt();
                    self.measure_capacity();
                }
            }
        }
        // Anything may rest on what was ordered.
        self.lay_out_sheets();
        let orders = self.tiers.iter().flat_map(|state| [state.skipped, state.pinned]);
        self.orders_until = orders.chain([self.paid_stopped]).max().unwrap_or_default();
        for state in &mut self.tiers {
            // Quota may have been set: whether it is short is worth asking anew.
            state.starved_until = Timestamp::ZERO;
        }
        self.waiting.stir();
    }

    fn order(&mut self, tier: super::ids::TierId, change: impl FnOnce(&mut TierState)) {
        if let Some(plan) = self.plan.tiers.get(tier.index()) {
            change(&mut self.tiers[plan.owner as usize]);
        }
    }

    /// Forgets what was held against a scope. Of an upstream model that is its failures: it has no cooldown.
    fn clear<O: Observer>(&mut self, scene: &mut Scene<'_, O>, scope: Scope) {
        match scope {
            Scope::Key(key) => {
                let Some(owner) = self.plan.keys.get(key.index()) else { return };
                self.keys[*owner as usize].cooldown.clear();
            }
            Scope::ProjectModel(project, upstream) => {
                let Some(first) = self.register.quota(&self.plan, project, upstream) else { return };
                for quota in first..first + super::plan::ENDPOINTS {
                    self.quotas[quota as usize].cooldown.clear();
                }
            }
            Scope::Upstream(upstream) => {
                let Some(first) = self.plan.nodes.get(upstream.index()).copied() else { return };
                for node in first..first + super::plan::ENDPOINTS {
                    self.nodes[node as usize].health = super::health::Health::default();
                }
            }
            Scope::Provider(provider) => {
                let Some(owner) = self.plan.providers.get(provider.index()) else { return };
                self.providers[*owner as usize].clear();
            }
        }
        scene.tell(|| Note::Cleared { scope });
    }
}
