//! Requests that wait for capacity: one ordered list for each kind of request, most urgent first.
//!
//! Kinds are few (a model, a kind of call, the tiers that suit it), waiters are many. Only the most urgent waiter of a
//! kind is ever asked whether it can start, and only when something may have freed capacity for it: if it cannot, none
//! behind it can. Waking everyone when a key frees costs fifteen events per request in an overload; this costs one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::ids::{ModelId, RequestId};
use super::input::Endpoint;
use super::settings::Priority;
use super::slab::Handle;
use super::time::Timestamp;

/// What waiting requests have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kind {
    /// What is asked for.
    pub(super) model: ModelId,
    /// Which kind of call.
    pub(super) endpoint: Endpoint,
    /// Bit `i` is set when the model's `i`-th tier takes such a prompt.
    pub(super) suited: u32,
}

/// The most urgent first: by priority, then by deadline, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Urgency {
    priority: Reverse<Priority>,
    deadline: Timestamp,
    request: RequestId,
}

/// All waiting requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Waiting {
    lanes: Vec<Lane>,
    /// How many wait in all lanes together.
    live: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lane {
    kind: Kind,
    heap: BinaryHeap<Reverse<Waiter>>,
    /// How many of the heap still wait.
    live: u32,
    /// When the most urgent one is worth asking again.
    opens: Timestamp,
}

/// A place in the list. It is stale when its request left: spilled, closed, or waiting again under a newer ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Waiter {
    urgency: Urgency,
    /// Whose place it is.
    pub(super) request: Handle,
    /// The ticket that the request must still hold.
    pub(super) ticket: u32,
}

/// Index of a lane, stable until the settings change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LaneId(u32);

impl Urgency {
    /// How urgent a request is.
    pub(super) fn new(priority: Priority, deadline: Timestamp, request: RequestId) -> Self {
        Self { priority: Reverse(priority), deadline, request }
    }
}

impl Waiting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    /// How many wait in the lane of this kind.
    pub(super) fn ahead(&self, kind: Kind) -> u32 {
        self.lanes.iter().find(|lane| lane.kind == kind).map_or(0, |lane| lane.live)
    }

    /// Queues a request; its lane is asked no later than `opens`.
    pub(super) fn join(
        &mut self,
        kind: Kind,
        urgency: Urgency,
        request: Handle,
        ticket: u32,
        opens: Timestamp,
        is_live: impl Fn(&Waiter) -> bool,
    ) -> LaneId {
        let index = self.lanes.iter().position(|lane| lane.kind == kind).unwrap_or_else(|| {
            self.lanes.push(Lane { kind, heap: BinaryHeap::new(), live: 0, opens: Timestamp::MAX });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[index];
        // Stale places are dropped when they come to the top; those that never do must not pile up.
        if lane.heap.len() > 64 + 2 * lane.live as usize {
            lane.heap.retain(|Reverse(waiter)| is_live(waiter));
        }
        lane.heap.push(Reverse(Waiter { urgency, request, ticket }));
        lane.live += 1;
        self.live += 1;
        lane.opens = if lane.live == 1 { opens } else { lane.opens.min(opens) };
        LaneId(index as u32)
    }

    /// A request left its lane for whatever reason.
    pub(super) fn left(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(lane.0 as usize)
            && lane.live > 0
        {
            lane.live -= 1;
            self.live -= 1;
        }
    }

    /// Something changed that may let anybody start: ask all lanes.
    pub(super) fn stir(&mut self) {
        for lane in &mut self.lanes {
            lane.opens = Timestamp::ZERO;
        }
    }

    /// When the next lane is worth asking.
    #[inline]
    pub(super) fn opens(&self) -> Timestamp {
        // Mostly nobody waits.
        if self.live == 0 {
            return Timestamp::MAX;
        }
        self.lanes.iter().filter(|lane| lane.live > 0).map(|lane| lane.opens).min().unwrap_or(Timestamp::MAX)
    }

    /// The most urgent of the waiters that head a lane worth asking now.
    pub(super) fn most_urgent(
        &mut self,
        now: Timestamp,
        is_live: impl Fn(&Waiter) -> bool,
    ) -> Option<(LaneId, Waiter)> {
        let mut best: Option<(Waiter, usize)> = None;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.live == 0 || lane.opens > now {
                continue;
            }
            while let Some(Reverse(head)) = lane.heap.peek() {
                if is_live(head) {
                    if best.is_none_or(|(waiter, _)| *head < waiter) {
                        best = Some((*head, index));
                    }
                    break;
                }
                lane.heap.pop();
            }
        }
        best.map(|(waiter, index)| (LaneId(index as u32), waiter))
    }

    /// The head of this lane cannot start before `opens`.
    pub(super) fn close_until(&mut self, lane: LaneId, opens: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(lane.0 as usize) {
            lane.opens = opens;
        }
    }

    /// Empties the list, most urgent first in each lane: the settings changed, and everybody must be asked anew.
    pub(super) fn drain(&mut self) -> Vec<Waiter> {
        self.live = 0;
        let mut waiters: Vec<Waiter> =
            self.lanes.drain(..).flat_map(|lane| lane.heap.into_iter().map(|Reverse(waiter)| waiter)).collect();
        waiters.sort_unstable();
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::slab::Slab;
    use crate::core::time::Duration;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    const KIND: Kind = Kind { model: ModelId::new(0), endpoint: Endpoint::Generate, suited: 1 };

    #[test]
    fn the_most_urgent_starts_first_and_stale_places_are_passed_over() {
        let mut slab = Slab::default();
        let mut waiting = Waiting::default();
        let mut names = Vec::new();
        let requests = [
            (Priority::Normal, 50),
            (Priority::Low, 10),
            (Priority::Normal, 40),
            (Priority::High, 90),
            (Priority::Normal, 40),
        ];
        for (number, (priority, deadline)) in requests.into_iter().enumerate() {
            let handle = slab.insert(());
            let urgency = Urgency::new(priority, at(deadline), RequestId::new(number as u64));
            waiting.join(KIND, urgency, handle, 0, at(5), |_| true);
            names.push(handle);
        }
        assert!(waiting.most_urgent(at(4), |_| true).is_none(), "nothing can have changed yet");
        assert_eq!(waiting.opens(), at(5));
        let mut order = Vec::new();
        while let Some((lane, waiter)) = waiting.most_urgent(at(5), |waiter| slab.get(waiter.request).is_some()) {
            order.push(names.iter().position(|name| *name == waiter.request));
            slab.clear(waiter.request);
            waiting.left(lane);
        }
        assert_eq!(order, [3, 2, 4, 0, 1].map(Some));
        assert_eq!((waiting.len(), waiting.opens()), (0, Timestamp::MAX));
    }

    #[test]
    fn a_lane_that_cannot_start_is_not_asked_again_until_it_opens() {
        let mut slab = Slab::default();
        let mut waiting = Waiting::default();
        let urgency = Urgency::new(Priority::Normal, at(60), RequestId::new(1));
        let lane = waiting.join(KIND, urgency, slab.insert(()), 0, at(1), |_| true);
        waiting.close_until(lane, at(30));
        assert!(waiting.most_urgent(at(29), |_| true).is_none());
        waiting.stir();
        assert!(waiting.most_urgent(at(2), |_| true).is_some());
    }
}
