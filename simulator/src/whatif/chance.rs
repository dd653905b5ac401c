//! Draws of what a log does not tell, one after the other from a keyed stream.

use stormproof_router::core::unit;

use crate::draws::{Stream, normal_quantile};

/// A sequence of draws about one subject.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    seed: u64,
    subject: u64,
    drawn: u64,
}

impl Chance {
    /// The draws of this seed about this subject.
    pub(super) fn new(seed: u64, subject: u64) -> Self {
        Self { seed, subject, drawn: 0 }
    }

    /// A uniform number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.drawn += 1;
        unit(Stream::Unknown.draw(self.seed, self.subject, self.drawn))
    }

    /// A standard normal number.
    pub(super) fn normal(&mut self) -> f64 {
        // The middle of a cell of 2^-53, so that neither end is ever met.
        normal_quantile(self.unit() + 1.0 / (1u64 << 54) as f64)
    }

    /// A gamma variable of this shape and rate 1, by Marsaglia and Tsang (2000).
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boosted = self.gamma(shape + 1.0);
            return boosted * libm::pow(1.0 - self.unit(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let z = self.normal();
            let root = 1.0 + c * z;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            // 1 - u lies in (0, 1], where the logarithm is finite.
            if libm::log(1.0 - self.unit()) < 0.5 * z * z + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// A beta variable.
    pub(super) fn beta(&mut self, successes: f64, failures: f64) -> f64 {
        let (a, b) = (self.gamma(successes), self.gamma(failures));
        a / (a + b)
    }

    /// The index of one of these weights, in proportion.
    pub(super) fn choose(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_and_beta_have_their_moments() {
        let mut chance = Chance::new(3, 4);
        for shape in [0.5, 1.0, 4.0, 50.0] {
            let drawn: Vec<f64> = (0..20_000).map(|_| chance.gamma(shape)).collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let variance = drawn.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / drawn.len() as f64;
            assert!(
                (mean / shape - 1.0).abs() < 0.05 && (variance / shape - 1.0).abs() < 0.1,
                "{shape}: {mean} {variance}"
            );
        }
        let mean = (0..20_000).map(|_| chance.beta(3.0, 7.0)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.3).abs() < 0.01, "{mean}");
    }

    #[test]
    fn choices_are_in_proportion() {
        let mut chance = Chance::new(1, 2);
        let chosen = (0..10_000).filter(|_| chance.choose(&[1.0, 0.0, 3.0]) == 2).count();
        assert!((7300..7700).contains(&chosen), "{chosen}");
    }
}
