//! The simulator's randomness: which streams exist, and the few shapes that quantities are drawn from.
//!
//! Every draw is a pure function of (seed, stream, entity, index), so two routers that face the same turn face the
//! same luck. Values come from inverse distribution functions, one uniform number each, and use `libm` only, so they
//! are the same bits on every platform.

use stormproof_router::core::{Duration, Source, mix, unit};

/// The streams of one seed. A new one is appended; numbers are never reused, because golden hashes rest on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Gaps between arrivals: entity = client spec, index = turn.
    Arrivals = 1,
    /// Sizes of a turn: entity = turn.
    Tokens = 2,
    /// What is the same for all attempts of a turn: entity = turn.
    Turn = 3,
    /// What happens to one attempt: entity = turn, index = (upstream, n-th attempt there).
    Attempt = 4,
    /// Overload episodes: entity = upstream, index = episode.
    Weather = 5,
    /// Client jitter: entity = turn, index = call.
    Client = 6,
    /// Think times of closed-loop users: entity = (client spec, user), index = turn of that user.
    Think = 7,
    /// The router's own seed.
    Router = 8,
    /// What a recorded day does not tell: entity = what, index = how many were drawn of it.
    Unknown = 9,
}

impl Stream {
    /// The bits of this stream for (entity, index).
    pub fn draw(self, seed: u64, entity: u64, index: u64) -> u64 {
        stormproof_router::core::draw(seed, self as u64, entity, index)
    }

    /// This stream of one seed, for whoever draws from it often.
    pub fn of(self, seed: u64) -> Source {
        Source::of(seed, self as u64)
    }
}

/// An independent word made of drawn bits; `purpose` keeps two uses of one draw apart.
pub fn split(bits: u64, purpose: u64) -> u64 {
    mix(bits ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93))
}

/// The distribution of one positive quantity. As a time the unit is seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Always this.
    Fixed(f64),
    /// Evenly between the two.
    Uniform {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Memoryless.
    Exponential {
        /// Its mean.
        mean: f64,
    },
    /// The logarithm is normal.
    LogNormal {
        /// Half of all values are below.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
}

impl Shape {
    /// The lognormal shape through two of its quantiles, such as a measured p50 and p99. `share` is the upper one's, in
    /// (0.5, 1).
    pub fn from_quantiles(median: f64, upper: f64, share: f64) -> Self {
        let sigma = libm::log(upper / median) / normal_quantile(share);
        Self::LogNormal { median, sigma: if sigma.is_finite() { sigma.max(0.0) } else { 0.0 } }
    }

    /// The value for these drawn bits.
    pub fn value(&self, bits: u64) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { min, max } => min + (max - min) * unit(bits),
            // 1 - u lies in (0, 1], where the logarithm is finite.
            Self::Exponential { mean } => -mean * libm::log(1.0 - unit(bits)),
            Self::LogNormal { median, sigma } => median * libm::exp(sigma * normal_quantile(open_unit(bits))),
        }
    }

    /// The value as a length of time.
    pub fn duration(&self, bits: u64) -> Duration {
        Duration::from_secs_f64(self.value(bits))
    }

    /// The same shape with every value multiplied.
    pub fn scaled(&self, factor: f64) -> Self {
        match *self {
            Self::Fixed(value) => Self::Fixed(value * factor),
            Self::Uniform { min, max } => Self::Uniform { min: min * factor, max: max * factor },
            Self::Exponential { mean } => Self::Exponential { mean: mean * factor },
            Self::LogNormal { median, sigma } => Self::LogNormal { median: median * factor, sigma },
        }
    }
}

/// A uniform number strictly between 0 and 1: the middles of 2^52 equal cells.
fn open_unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// The standard normal quantile, by Wichura's algorithm AS 241 (PPND16, 1988), exact to about 1e-16. Its central
/// branch, which takes 85 % of all draws, needs no logarithm.
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * horner(&CENTRAL.0, r) / horner(&CENTRAL.1, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-libm::log(tail)).sqrt();
    let magnitude = if r <= 5.0 {
        horner(&MIDDLE.0, r - 1.6) / horner(&MIDDLE.1, r - 1.6)
    } else {
        horner(&FAR.0, r - 5.0) / horner(&FAR.1, r - 5.0)
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// The share of a standard normal distribution below `z`.
pub fn normal_share(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The polynomial with these coefficients, lowest first.
fn horner([lower @ .., highest]: &[f64; 8], x: f64) -> f64 {
    lower.iter().rev().fold(*highest, |sum, coefficient| sum * x + coefficient)
}

type Rational = ([f64; 8], [f64; 8]);

const CENTRAL: Rational = (
    [
        3.387_132_872_796_366_6,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
);

const MIDDLE: Rational = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);

const FAR: Rational = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);
