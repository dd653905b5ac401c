//! Which boot of a machine writes a log: what tells a power loss from the mere end of a process.
//!
//! What a killed process has written stays in the page cache, and nothing is lost. When the power fails or the kernel
//! dies, whatever had not reached the disk is gone, and the machine boots anew. So a live writer says under which boot
//! it writes, at its beginning and with every checkpoint, and how much of every limit it lets be at stake before the
//! disk has it.

use std::fmt;
use std::fs;
use std::str::FromStr;

use thiserror::Error;

use crate::core::AtRisk;

/// Where Linux says it; containers see the machine's.
const FILE: &str = "/proc/sys/kernel/random/boot_id";

/// One boot of one machine, by a random number that the kernel draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub u128);

/// A text that is no boot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the number of a boot: 32 hexadecimal digits are expected")]
pub struct NoBootId;

/// Who writes, as far as power losses are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Under which boot; `None` where the system does not tell.
    pub id: Option<BootId>,
    /// So much of every limit may be used before the disk has it.
    pub at_risk: AtRisk,
}

/// How the last writer of a log ended, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It closed the log, or there was none.
    InOrder,
    /// It was killed, under this very boot: all that it had written is there.
    Killed,
    /// The machine, or another one, has been booted since: so much of every limit may have been used unseen.
    PowerLost(AtRisk),
    /// Nobody can tell: one of the boots has no number. It is taken for a power loss.
    Unknown(AtRisk),
}

impl BootId {
    /// The boot that this process runs under, where the system tells.
    pub fn current() -> Option<Self> {
        fs::read_to_string(FILE).ok()?.parse().ok()
    }
}

impl FromStr for BootId {
    type Err = NoBootId;

    fn from_str(text: &str) -> Result<Self, NoBootId> {
        let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoBootId);
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|_not_hexadecimal| NoBootId)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Ended {
    /// From what the log says: who wrote it at last, and whether its end is a proper one. `here` is who reads, whose
    /// share counts where the log names none.
    pub fn of(writer: Option<Boot>, in_order: bool, here: Boot) -> Self {
        if in_order {
            return Self::InOrder;
        }
        let at_risk = writer.map_or(here.at_risk, |writer| writer.at_risk);
        match (writer.and_then(|writer| writer.id), here.id) {
            (Some(then), Some(now)) if then == now => Self::Killed,
            (Some(_), Some(_)) => Self::PowerLost(at_risk),
            (None, _) | (_, None) => Self::Unknown(at_risk),
        }
    }

    /// The share of every limit that has to be taken as used, if any.
    pub fn at_risk(self) -> Option<AtRisk> {
        match self {
            Self::InOrder | Self::Killed => None,
            Self::PowerLost(at_risk) | Self::Unknown(at_risk) => Some(at_risk).filter(|share| *share != AtRisk::NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_boot_without_a_proper_end_is_a_power_loss() {
        let boot = |id: Option<u128>, ppm| Boot { id: id.map(BootId), at_risk: AtRisk::from_ppm(ppm) };
        let share = AtRisk::from_ppm(7);
        let ended = |writer, in_order, here| Ended::of(writer, in_order, boot(here, 9));
        assert_eq!(ended(Some(boot(Some(1), 7)), true, Some(2)), Ended::InOrder, "moved, but closed");
        assert_eq!(ended(Some(boot(Some(1), 7)), false, Some(1)), Ended::Killed);
        assert_eq!(ended(Some(boot(Some(1), 7)), false, Some(2)), Ended::PowerLost(share));
        assert_eq!(ended(Some(boot(None, 7)), false, Some(2)), Ended::Unknown(share));
        assert_eq!(ended(Some(boot(Some(1), 7)), false, None), Ended::Unknown(share));
        assert_eq!(ended(None, false, Some(2)), Ended::Unknown(AtRisk::from_ppm(9)), "a log that does not say");
        assert_eq!(Ended::PowerLost(AtRisk::NONE).at_risk(), None, "every write was on disk first");
        assert_eq!(Ended::Unknown(share).at_risk(), Some(share));
    }

    #[test]
    fn a_boot_is_read_as_the_kernel_writes_it() {
        let text = "0e5b3c1e-8c0b-4a61-9d5f-3a9d4f6e7a10\n";
        assert_eq!(text.parse::<BootId>().map(|id| id.to_string()), Ok("0e5b3c1e8c0b4a619d5f3a9d4f6e7a10".to_owned()));
        for wrong in ["", "0e5b3c1e", "+e5b3c1e8c0b4a619d5f3a9d4f6e7a10", "ge5b3c1e8c0b4a619d5f3a9d4f6e7a10"] {
            assert_eq!(wrong.parse::<BootId>(), Err(NoBootId), "{wrong}");
        }
    }
}
