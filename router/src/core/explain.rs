//! Why a request is not served: the causes in a verdict, and the notes for whoever listens.
//!
//! Both walk over all deployments once more, which is why they happen only when a request is turned away or somebody
//! listens. Whether anybody listens changes no state.

use super::cooldown::Gate;
use super::decide::Offer;
use super::ids::{DeploymentId, TierId};
use super::observer::{Note, Observer};
use super::output::{Cause, TierCause};
use super::plan::endpoint_offset;
use super::quota::Room;
use super::router::{Router, Scene};
use super::slab::Handle;
use super::state::Request;
use super::time::{Duration, Timestamp};

/// What is in the way of one deployment.
#[derive(Clone, Copy, Debug)]
struct Obstacle {
    cause: Cause,
    /// [`Timestamp::MAX`] when it never goes away by itself.
    until: Timestamp,
    count: Option<(u32, u32)>,
    /// Whether it is a hard fact: not merely a full minute or a soft cooldown.
    hard: bool,
}

impl Router {
    /// One entry for each tier of the request's model, and the true time until a repeat makes sense.
    pub(super) fn causes(&mut self, now: Timestamp, request: &Request) -> (Box<[TierCause]>, Option<Duration>) {
        let tiers = request.model.map_or(Vec::new(), |model| self.plan.models[model.index()].clone());
        let causes: Box<[TierCause]> =
            tiers.iter().enumerate().map(|(position, tier)| self.tier_cause(now, request, *tier, position)).collect();
        let first = causes.iter().filter_map(|cause| cause.until).min();
        (causes, first.map(|first| first.since(now)))
    }

    fn tier_cause(&mut self, now: Timestamp, request: &Request, tier: TierId, position: usize) -> TierCause {
        let deployments = &self.plan.tiers[tier.index()].deployments;
        let total = deployments.len() as u32;
        let mut tally: Vec<(Cause, u32)> = Vec::new();
        let mut usable = 0;
        for &deployment in deployments {
            let obstacle = self.obstacle(now, request, deployment);
            usable += u32::from(obstacle.is_none_or(|obstacle| !obstacle.hard));
            if let Some(Obstacle { cause, .. }) = obstacle {
                match tally.iter_mut().find(|(known, _)| *known == cause) {
                    Some((_, count)) => *count += 1,
                    None => tally.push((cause, 1)),
                }
            }
        }
        // The reason that binds most deployments; of equals the first in the vocabulary.
        let most =
            tally.iter().max_by_key(|(cause, count)| (*count, std::cmp::Reverse(*cause))).map(|(cause, _)| *cause);
        let of_tier =
            |cause| matches!(cause, Cause::Budget | Cause::ClientBudget | Cause::Operator | Cause::ContextWindow);
        // What binds the tier as a whole binds whatever its keys may lack besides.
        let binding = |cause| if of_tier(cause) { cause } else { most.unwrap_or(cause) };
        let (cause, until) = match self.offer(now, request, tier, position) {
            Offer::Ready(_, from) => (request.failures.last.map_or(Cause::Deadline, |(cause, _)| cause), Some(from)),
            Offer::Later { until, cause, .. } => (binding(cause), Some(until)),
            Offer::Never(cause) => (binding(cause), None),
        };
        TierCause { tier, usable: if of_tier(cause) { 0 } else { usable }, total, cause, until }
    }

    /// Tells for each deployment of the tiers before `position` why it was passed over.
    pub(super) fn explain_skips<O: Observer>(&self, scene: &mut Scene<'_, O>, handle: Handle, position: usize) {
        if !scene.listens() {
            return;
        }
        let Some(request) = self.requests.get(handle) else { return };
        let tiers = request.model.map_or(Vec::new(), |model| self.plan.models[model.index()].clone());
        for tier in tiers.into_iter().take(position.saturating_add(1)) {
            for &deployment in &self.plan.tiers[tier.index()].deployments {
                if let Some(Obstacle { cause, until, count, .. }) = self.obstacle(scene.now, request, deployment) {
                    let until = (until < Timestamp::MAX).then_some(until);
                    scene.tell(|| Note::Skipped { request: request.id, deployment, cause, count, until });
                }
            }
        }
    }

    fn obstacle(&self, now: Timestamp, request: &Request, deployment: DeploymentId) -> Option<Obstacle> {
        let (rules, knobs) = (self.rules(), &self.plan.settings.knobs);
        let place = *self.plan.places.get(deployment.index())?;
        let offset = endpoint_offset(request.endpoint);
        let key = &self.keys[place.key as usize];
        if key.drained > now {
            return Some(Obstacle { cause: Cause::Operator, until: key.drained, count: None, hard: true });
        }
        // A copy, because looking must leave no trace: a story that is listened to goes as one that is not.
        let mut quota = self.quotas[(place.quota + offset) as usize].clone();
        for (cooldown, may_be_soft) in
            [(&self.providers[place.provider as usize], false), (&quota.cooldown, false), (&key.cooldown, true)]
        {
            let over = cooldown.active(now).map(|(until, cause, _)| (until, cause));
            let probed = || match cooldown.gate(now, knobs.probe_concurrent) {
                Gate::Closed(until, cause) => Some((until, cause)),
                Gate::Open | Gate::Probe => None,
            };
            if let Some((until, cause)) = over.or_else(probed) {
                return Some(Obstacle { cause, until, count: None, hard: !(may_be_soft && cooldown.is_soft()) });
            }
        }
        let charging = self.nodes[(place.node + offset) as usize].charging;
        let count_errors = charging.counts(self.plan.settings.knobs.rate_charge_errors);
        match quota.room(now, request.tokens.input.get(), count_errors, &rules) {
            Room::Free { .. } => None,
            Room::Full { until, cause, count, .. } => {
                Some(Obstacle { cause, until, count: Some(count), hard: cause == Cause::RateDay })
            }
        }
    }
}
