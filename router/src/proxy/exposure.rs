//! What a power loss would take at this moment: calls that have left while their record has not reached the disk.
//!
//! The log is brought to the disk in the background, and the calls of one interval rarely come near what may be at stake
//! of a limit. When they would exceed it, the log is brought to the disk first and they leave after it: so a router that
//! starts after a power loss can bound what it does not know of.

use std::collections::{BTreeMap, VecDeque};

use crate::core::{Limited, Stake};

/// What is at stake.
#[derive(Debug, Default)]
pub(super) struct Exposure {
    /// In the order of the log: the sequence behind the record, and what it took.
    stakes: VecDeque<(u64, Limited, u64)>,
    /// The sum of them for each limit.
    held: BTreeMap<Limited, u64>,
    /// What was last said to be allowed of each. A limit that grew may have grown by a record that is itself at stake.
    allowed: BTreeMap<Limited, u64>,
    /// Whether the disk must have all before anything leaves.
    wants_disk: bool,
}

impl Exposure {
    /// A call was dispatched that takes this of a limit; its record ends at `sequence`.
    pub(super) fn add(&mut self, sequence: u64, stake: Stake) {
        let Stake { limited, amount, most } = stake;
        let held = self.held.entry(limited).or_default();
        *held = held.saturating_add(amount);
        let before = self.allowed.insert(limited, most);
        self.wants_disk |= *held > most || before.is_none_or(|before| before < most);
        self.stakes.push_back((sequence, limited, amount));
    }

    /// Something was recorded that must not be lost, whatever it costs.
    pub(super) fn insist(&mut self) {
        self.wants_disk = true;
    }

    /// Everything before this sequence is on disk.
    pub(super) fn safe(&mut self, durable: u64) {
        while let Some((_, limited, amount)) = self.stakes.pop_front_if(|(sequence, ..)| *sequence <= durable) {
            if let Some(held) = self.held.get_mut(&limited) {
                *held -= amount;
            }
        }
    }

    /// Whether the disk must have all before anything leaves.
    pub(super) fn wants_disk(&self) -> bool {
        self.wants_disk
    }

    /// It has.
    pub(super) fn settled(&mut self) {
        self.stakes.clear();
        self.held.clear();
        self.wants_disk = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stake(amount: u64, most: u64) -> Stake {
        Stake { limited: Limited::Tier(0), amount, most }
    }

    /// One whose limits are known to the disk.
    fn settled(most: u64) -> Exposure {
        let mut exposure = Exposure::default();
        exposure.add(1, stake(0, most));
        assert!(exposure.wants_disk(), "nobody knows how long this limit has been what it is");
        exposure.settled();
        exposure
    }

    #[test]
    fn what_is_on_disk_is_at_stake_no_more() {
        let mut exposure = settled(10);
        for sequence in 2..7 {
            exposure.add(sequence, stake(2, 10));
        }
        assert!(!exposure.wants_disk());
        exposure.safe(3);
        exposure.add(7, stake(4, 10));
        assert!(!exposure.wants_disk(), "two of five are on disk");
        exposure.add(8, stake(1, 10));
        assert!(exposure.wants_disk());
        exposure.settled();
        exposure.add(9, stake(10, 10));
        assert!(!exposure.wants_disk());
    }

    #[test]
    fn a_limit_that_grew_is_brought_to_the_disk_before_it_is_used() {
        let mut exposure = settled(10);
        exposure.add(2, stake(1, 5));
        assert!(!exposure.wants_disk(), "it shrank");
        exposure.add(3, stake(1, 6));
        assert!(exposure.wants_disk());
    }

    #[test]
    fn a_call_that_is_more_than_may_be_at_stake_waits_alone() {
        let mut exposure = settled(10);
        exposure.add(2, stake(11, 10));
        assert!(exposure.wants_disk());
    }
}
