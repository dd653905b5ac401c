//! Money and tokens with their units in the type.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// An amount of money in micro-dollars. Signed, because settling a reservation may give some back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(i64);

/// A number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(u32);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than anyone has: an unlimited budget.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount in micro-dollars.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The amount in micro-dollars.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The amount in dollars, for printing and statistics.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Tokens {
    /// None.
    pub const ZERO: Self = Self(0);

    /// `count` tokens.
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// How many.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Neg for Usd {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Two decimals, or six when there are fractions of a cent: `50.00 USD`, `0.000125 USD`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let (dollars, fraction) = (micros / 1_000_000, micros % 1_000_000);
        if fraction.is_multiple_of(10_000) {
            write!(f, "{sign}{dollars}.{:02} USD", fraction / 10_000)
        } else {
            write!(f, "{sign}{dollars}.{fraction:06} USD")
        }
    }
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_with_its_unit() {
        assert_eq!(Usd::from_micros(50_000_000).to_string(), "50.00 USD");
        assert_eq!(Usd::from_micros(125).to_string(), "0.000125 USD");
        assert_eq!(Usd::from_micros(-1_250_000).to_string(), "-1.25 USD");
    }
}
