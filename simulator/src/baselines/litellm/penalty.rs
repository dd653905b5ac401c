//! The way from a failed attempt to the bench.

use stormproof_router::core::{AttemptId, Cause, Note, Observer, Provenance, Scope, Timestamp};

use super::bench::{Bench, Cooldown, Surroundings};
use super::failure::{Failure, Origin};
use super::graph::Slot;
use super::router::LiteLlm;
use super::text::{self, Received, Size};
use super::version::{Counted, Rules};

impl LiteLlm {
    /// Puts a failed attempt before the cooldown rules, if this version does.
    pub(super) fn count<O: Observer>(
        &mut self,
        index: u32,
        slot: Slot,
        now: Timestamp,
        failure: &Failure,
        origin: Origin,
        before_first_chunk: bool,
        observer: &mut O,
    ) {
        let rules = self.rules();
        let Some(hop) = self.state.calls[index as usize].hops.last_mut() else { return };
        let counts = match rules.counted {
            Counted::Every => true,
            Counted::FirstInGroup => !before_first_chunk && !hop.counted,
        };
        hop.counted = true;
        if counts {
            self.hold_against(slot, now, failure, Received::Provider(origin), observer);
        }
    }

    /// Counts a failure against a deployment and cools it where the rules say so.
    pub(super) fn hold_against<O: Observer>(
        &mut self,
        slot: Slot,
        now: Timestamp,
        failure: &Failure,
        received: Received,
        observer: &mut O,
    ) {
        let rules = self.rules();
        let deployed = &self.graph.slots[slot];
        let group = &self.graph.groups[deployed.group.index()];
        let around = Surroundings {
            single: group.len <= 1,
            has_fallbacks: group.fallbacks.is_some(),
            own_time: deployed.cooldown_time,
        };
        let Some(time) = self.state.bench[slot].fail(now, failure, around, &self.state.options, rules) else { return };
        let mut cooldown = Cooldown {
            since: now,
            until: now + time,
            cooldown_time: time,
            status: failure.status,
            cause: match received {
                Received::Provider(origin) => failure.kind.cause(origin.status),
                Received::Selection(_) => Cause::None,
            },
            received,
            size: Size::EMPTY,
        };
        cooldown.size = text::entry(&self.entry(slot, &cooldown));
        self.make_room(now, rules);
        if !self.state.bench[slot].cool(cooldown, rules) {
            return;
        }
        if O::LISTENS {
            let scope = Scope::Key(self.graph.slots[slot].key);
            let Cooldown { cause, until, .. } = cooldown;
            observer.note(now, Note::Cooled { scope, cause, until, provenance: Provenance::Inferred });
        }
    }

    /// Pushes the earliest-ending cooldowns out of a full store.
    fn make_room(&mut self, now: Timestamp, rules: &Rules) {
        let Some(most) = rules.cooldowns_max else { return };
        if self.state.bench.len() < most {
            return;
        }
        let cooling = |bench: &Bench| bench.cooldown(now).map(|cooldown| cooldown.until);
        while self.state.bench.iter().filter_map(cooling).count() >= most {
            let ends = self.state.bench.iter_mut().filter_map(|bench| Some((cooling(bench)?, bench)));
            let Some((_, bench)) = ends.min_by_key(|(until, _)| *until) else { return };
            bench.forget();
        }
    }

    /// Tells an observer which deployments of the group that is being asked sit on the bench.
    pub(super) fn note_benched<O: Observer>(&self, index: u32, now: Timestamp, observer: &mut O) {
        let call = self.call(index);
        let Some(hop) = call.hops.last() else { return };
        for slot in self.graph.slots_of(hop.group) {
            if let Some(&Cooldown { cause, until, .. }) = self.state.bench[slot].cooldown(now) {
                let (request, deployment) = (call.arrived.request, self.graph.slots[slot].deployment);
                observer.note(now, Note::Skipped { request, deployment, cause, count: None, until: Some(until) });
            }
        }
    }

    /// Tells an observer what a failure was taken for.
    pub(super) fn note_failure<O: Observer>(
        &self,
        index: u32,
        now: Timestamp,
        attempt: AttemptId,
        origin: Origin,
        observer: &mut O,
    ) {
        let call = self.call(index);
        if let Some(slot) = call.tried.filter(|_| O::LISTENS) {
            let deployed = &self.graph.slots[slot];
            let (request, deployment) = (call.arrived.request, deployed.deployment);
            let (class, scope) = (origin.kind.cause(origin.status), Some(Scope::Key(deployed.key)));
            observer.note(now, Note::Classified { request, attempt, deployment, class, scope });
        }
    }
}
