//! A call's way through attempts, retries and fallbacks, until it waits for something or is over.

use stormproof_router::core::{
    AttemptId, Dispatch, Duration, Observer, Output, Spill, Timeouts, Timestamp, Why, draw, unit,
};

use super::call::{Pool, Resume, Retry};
use super::failure::{Failure, Kind};
use super::graph::Slot;
use super::router::LiteLlm;
use super::text::{Received, Size};

/// The stream of the shuffle. Any number would do; under this one the first seed shuffles the deployments of the logged
/// outage as they were shuffled then, so that its replay shows their ids at their times.
const SELECTION: u64 = 0x5e1e_c711;
/// The stream of the pauses.
const JITTER: u64 = 0x6a17_7e12;

/// **Fitted**, to one measurement: both models overloaded, not streaming, 1.66 refuses 13 requests after its first
/// failures and then answers no more. A text of this size is the first that is never finished.
const HANGS_AT_BYTES: u64 = 8 << 20;

/// Where a call stands while it is being moved on.
pub(super) enum Step {
    /// An attempt is to be made in its topmost group.
    Attempt,
    /// An attempt there has failed.
    Failed(Failure),
    /// The topmost group has given up.
    GroupFailed,
}

impl LiteLlm {
    /// Moves a call on until it waits for something or is closed.
    pub(super) fn run<O: Observer>(&mut self, index: u32, now: Timestamp, mut step: Step, observer: &mut O) {
        loop {
            step = match step {
                Step::Attempt => match self.select_telling(index, now, observer) {
                    Some(slot) => return self.start_attempt(index, slot),
                    None => match self.nothing_left(index, now, observer) {
                        Some(failure) => Step::Failed(failure),
                        None => return,
                    },
                },
                Step::Failed(failure) => match self.after_failure(index, now, failure) {
                    Retry::After(Duration::ZERO, Resume::Attempt) => Step::Attempt,
                    Retry::After(Duration::ZERO, Resume::GiveUp) | Retry::Never => Step::GroupFailed,
                    Retry::After(pause, resume) => return self.sleep(index, now + pause, resume),
                },
                Step::GroupFailed => {
                    let rules = self.rules();
                    let call = &mut self.state.calls[index as usize];
                    if call.descend(&self.graph, &self.state.options, rules) {
                        Step::Attempt
                    } else if self.ascend(index) {
                        Step::GroupFailed
                    } else {
                        return self.refuse(index, now);
                    }
                }
            };
        }
    }

    /// The choice, with a word on each deployment that sits on the bench for whoever listens.
    fn select_telling<O: Observer>(&mut self, index: u32, now: Timestamp, observer: &mut O) -> Option<Slot> {
        if O::LISTENS {
            self.note_benched(index, now, observer);
        }
        self.select(index, now)
    }

    /// Chooses among the group's deployments that are not cooling: at random, by weight.
    fn select(&mut self, index: u32, now: Timestamp) -> Option<Slot> {
        let (seed, rules) = (self.state.settings.seed, self.rules());
        let call = self.state.calls.get_mut(index as usize)?;
        let hop = call.hops.last()?;
        let bench = &self.state.bench;
        let deployed = &self.graph.slots;
        let healthy = self.graph.slots_of(hop.group).filter(|slot| bench[*slot].healthy(now));
        let order = hop.order.or_else(|| healthy.clone().map(|slot| deployed[slot].order).min());
        let ordered = healthy.filter(|slot| !rules.orders || Some(deployed[*slot].order) == order);
        let avoid = rules.avoids_refusers && ordered.clone().any(|slot| !hop.refusers.contains(&slot));
        let candidates = ordered.filter(|slot| !avoid || !hop.refusers.contains(slot));
        let weights: u64 = candidates.clone().map(|slot| u64::from(deployed[slot].weight)).sum();
        let weight = |slot: Slot| if weights == 0 { 1 } else { u64::from(deployed[slot].weight) };
        let total: u64 = candidates.clone().map(weight).sum();
        let bits = draw(seed, SELECTION, call.arrived.request.get(), call.draws);
        call.draws += 1;
        let mut left = ((u128::from(bits) * u128::from(total)) >> 64) as u64;
        for slot in candidates {
            if left < weight(slot) {
                return Some(slot);
            }
            left -= weight(slot);
        }
        None
    }

    fn start_attempt(&mut self, index: u32, slot: Slot) {
        let call = self.call_mut(index);
        call.tried = Some(slot);
        call.sdk_calls = 0;
        self.dispatch(index);
    }

    /// Makes one HTTP call to the deployment that was selected.
    pub(super) fn dispatch(&mut self, index: u32) {
        self.state.serial = self.state.serial.wrapping_add(1);
        let attempt = AttemptId::new(u64::from(self.state.serial) << 32 | u64::from(index));
        let timeouts = self.timeouts(self.call(index).arrived.stream);
        let call = &mut self.state.calls[index as usize];
        let Some(slot) = call.tried else { return };
        let before = call.attempts;
        call.attempt = Some(attempt);
        call.attempts = before.saturating_add(1);
        call.sdk_calls += 1;
        let why = match (before, call.hops.len()) {
            (0, 1) => Why::First,
            (_, 1) => Why::Retry { before },
            (_, _) if call.hops.last().is_some_and(|hop| hop.retries > 0) => Why::Retry { before },
            (_, _) => Why::Spill { cause: Spill::Exhausted, failure_ppm: 0, quota_ppm: 0 },
        };
        let deployment = self.graph.slots[slot].deployment;
        let request = call.arrived.request;
        self.outputs.push_back(Output::Dispatch(Dispatch { request, attempt, deployment, timeouts, why }));
    }

    fn timeouts(&self, stream: bool) -> Timeouts {
        let options = &self.state.options;
        let total = options.timeout.0;
        if !stream {
            return Timeouts { connect: total, first_byte: total, idle: total, total };
        }
        // On a stream the limit is on each read, not on the whole.
        let read = options.stream_timeout.map_or(total, |seconds| seconds.0);
        Timeouts { connect: read, first_byte: read, idle: read, total: Duration::MAX }
    }

    /// The exception of a selection that found nothing. `None` when the router hangs over its text.
    fn nothing_left<O: Observer>(&mut self, index: u32, now: Timestamp, observer: &mut O) -> Option<Failure> {
        let rules = self.rules();
        let call = self.call(index);
        let (group, tried) = (call.hops.last()?.group, call.tried);
        let text: Size = self.no_deployments(now, group);
        let failure = Failure { mentions_no_deployments: true, text, ..Failure::new(Kind::NoDeployments, 429) };
        if let Some(slot) = tried.filter(|_| rules.selection_failure_counts && self.state.options.feedback_loop) {
            // It has no status of its own; 500 is what an exception without one is taken for.
            let counted = Failure { status: 500, ..failure };
            self.hold_against(slot, now, &counted, Received::Selection(text), observer);
        }
        self.state.hung = text.bytes >= HANGS_AT_BYTES;
        (!self.state.hung).then_some(failure)
    }

    fn after_failure(&mut self, index: u32, now: Timestamp, failure: Failure) -> Retry {
        let rules = self.rules();
        let draw = self.jitter(index);
        let call = &mut self.state.calls[index as usize];
        let Some(hop) = call.hops.last_mut() else { return Retry::Never };
        let slots = self.graph.slots_of(hop.group);
        let healthy = slots.filter(|slot| self.state.bench[*slot].healthy(now)).count();
        let group = &self.graph.groups[hop.group.index()];
        hop.after_failure(failure, Pool { group, healthy, options: &self.state.options, rules }, draw)
    }

    /// Leaves the topmost group for the one that it was a fallback of, with the exception it raises. False at the
    /// bottom.
    fn ascend(&mut self, index: u32) -> bool {
        let call = &mut self.state.calls[index as usize];
        if call.hops.len() < 2 {
            return false;
        }
        let Some(child) = call.hops.pop() else { return false };
        let raised = self.raised(&child);
        if let (Some(raised), Some(parent)) = (raised, self.state.calls[index as usize].hops.last_mut()) {
            parent.fallback_failure = Some((child.group, raised));
        }
        true
    }

    /// The next uniform number of a call.
    pub(super) fn jitter(&mut self, index: u32) -> f64 {
        let seed = self.state.settings.seed;
        let call = self.call_mut(index);
        call.draws += 1;
        unit(draw(seed, JITTER, call.arrived.request.get(), call.draws))
    }
}
