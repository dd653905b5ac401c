//! An event in the queue: one word whose order is the order of simultaneous events.

/// What will happen, without its time.
///
/// From its highest bits down, the word holds the event's class, a number in the order in which events were set, and
/// what it is about. A run sets far less than the 2^30 events after which the numbers begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(u64);

/// What an event says. Slots are those of calls to providers; slots and turns are below 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The first good chunk of the stream in this slot.
    FirstByte(u32),
    /// The end that was planned for the call in this slot.
    Finished(u32),
    /// The end of the call in this slot because it is abandoned.
    Abandoned(u32),
    /// A client calls again for this turn.
    Call(u32),
    /// A user of a closed loop begins this turn.
    Turn(u32),
}

/// Classes of events, in their order at one moment.
const FIRST_BYTE: u64 = 1;
const FINISHED: u64 = 2;
const CALL: u64 = 3;

/// Where the class and the number begin. Below them are 31 bits of a slot or turn, and one that tells the two kinds of a
/// class apart.
const CLASS_SHIFT: u32 = 62;
const NUMBER_SHIFT: u32 = 32;
const NUMBER_MAX: u64 = (1 << (CLASS_SHIFT - NUMBER_SHIFT)) - 1;

impl Event {
    /// The `number`-th event that was set.
    pub(super) fn new(what: What, number: u64) -> Self {
        let (class, index, second) = match what {
            What::FirstByte(slot) => (FIRST_BYTE, slot, 0),
            What::Finished(slot) => (FINISHED, slot, 0),
            What::Abandoned(slot) => (FINISHED, slot, 1),
            What::Call(turn) => (CALL, turn, 0),
            What::Turn(turn) => (CALL, turn, 1),
        };
        Self(class << CLASS_SHIFT | (number & NUMBER_MAX) << NUMBER_SHIFT | u64::from(index) << 1 | second)
    }

    pub(super) fn what(self) -> What {
        let index = self.0 as u32 >> 1;
        let second = self.0 & 1 == 1;
        match self.0 >> CLASS_SHIFT {
            FIRST_BYTE => What::FirstByte(index),
            FINISHED if second => What::Abandoned(index),
            FINISHED => What::Finished(index),
            _ if second => What::Turn(index),
            _ => What::Call(index),
        }
    }
}

impl From<Event> for u64 {
    fn from(event: Event) -> Self {
        event.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_was_put_in() {
        for index in [0, 1, 77, (1 << 31) - 1] {
            for what in [
                What::FirstByte(index),
                What::Finished(index),
                What::Abandoned(index),
                What::Call(index),
                What::Turn(index),
            ] {
                assert_eq!(Event::new(what, 0).what(), what);
                assert_eq!(Event::new(what, NUMBER_MAX).what(), what);
            }
        }
    }

    #[test]
    fn simultaneous_events_come_by_class_and_then_as_they_were_set() {
        let in_order = [
            Event::new(What::FirstByte(9), 8),
            Event::new(What::Abandoned(5), 1),
            Event::new(What::Finished(7), 2),
            Event::new(What::Abandoned(0), 3),
            Event::new(What::Turn(4), 4),
            Event::new(What::Call(3), 5),
            Event::new(What::Turn(2), 6),
        ];
        assert!(in_order.windows(2).all(|pair| u64::from(pair[0]) < u64::from(pair[1])));
    }
}
