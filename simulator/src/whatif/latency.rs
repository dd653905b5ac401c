//! How long answers take, from calls of which some were cut: a lognormal by maximum likelihood, with every cut call
//! counted as "at least so long". Leaving those out would make a slow model look quick, and the slower the more.

use stormproof_router::core::Duration;

use super::chance::Chance;
use crate::draws::{Shape, normal_share};

/// A lognormal and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fitted {
    /// Mean and standard deviation of the logarithm of the seconds.
    mu: f64,
    sigma: f64,
    /// Answers that were waited for, and calls that were cut.
    pub(super) whole: usize,
    pub(super) cut: usize,
}

/// Rounds of expectation and maximisation; each at least halves what is left where less than half is cut.
const ROUNDS: usize = 60;
/// All answers as long to the millisecond would leave no likelihood.
const SIGMA_MIN: f64 = 0.01;
/// Weight of the usual shape, in answers: it matters only where hardly any was seen.
const USUAL_WEIGHT: f64 = 2.0;

impl Fitted {
    /// Fits calls that were answered after `whole` and calls that were cut after `cut`. `usual` is a lognormal that stands
    /// in where nothing was seen.
    pub(super) fn new(whole: &[Duration], cut: &[Duration], usual: &Shape) -> Self {
        let (usual_mu, usual_sigma) = match *usual {
            Shape::LogNormal { median, sigma } => (libm::log(median), sigma),
            Shape::Fixed(value) => (libm::log(value), SIGMA_MIN),
            Shape::Uniform { min, max } => (libm::log((min + max) / 2.0), 0.5),
            Shape::Exponential { mean } => (libm::log(mean), 1.0),
        };
        let logs = |times: &[Duration]| -> Vec<f64> {
            times.iter().map(|time| libm::log(time.as_secs_f64().max(1e-6))).collect()
        };
        let (whole, cut) = (logs(whole), logs(cut));
        let count = (whole.len() + cut.len()) as f64 + USUAL_WEIGHT;
        let sum: f64 = whole.iter().sum::<f64>() + USUAL_WEIGHT * usual_mu;
        let squares =
            whole.iter().map(|x| x * x).sum::<f64>() + USUAL_WEIGHT * (usual_mu * usual_mu + usual_sigma * usual_sigma);
        let seen = whole.len() as f64 + USUAL_WEIGHT;
        let mut mu = sum / seen;
        let mut sigma = (squares / seen - mu * mu).max(SIGMA_MIN * SIGMA_MIN).sqrt();
        for _ in 0..if cut.is_empty() { 0 } else { ROUNDS } {
            let (mut sum, mut squares) = (sum, squares);
            for least in &cut {
                let z = (least - mu) / sigma;
                let (first, second) = beyond(z);
                let mean = mu + sigma * first;
                sum += mean;
                squares += mu * mu + 2.0 * mu * sigma * first + sigma * sigma * second;
            }
            mu = sum / count;
            sigma = (squares / count - mu * mu).max(SIGMA_MIN * SIGMA_MIN).sqrt();
        }
        Self { mu, sigma, whole: whole.len(), cut: cut.len() }
    }

    /// The best guess.
    pub(super) fn shape(&self) -> Shape {
        Shape::LogNormal { median: libm::exp(self.mu), sigma: self.sigma }
    }

    /// A guess that is as good as what was seen allows.
    pub(super) fn drawn(&self, chance: &mut Chance) -> Shape {
        let known = self.whole as f64 + USUAL_WEIGHT;
        let mu = self.mu + chance.normal() * self.sigma / known.sqrt();
        let sigma = self.sigma * libm::exp(chance.normal() / (2.0 * known).sqrt());
        Shape::LogNormal { median: libm::exp(mu), sigma }
    }

    /// The share of answers that take longer than this.
    pub(super) fn longer(&self, than: Duration) -> f64 {
        1.0 - normal_share((libm::log(than.as_secs_f64().max(1e-6)) - self.mu) / self.sigma)
    }
}

/// First and second moment of a standard normal variable that is above `z`.
fn beyond(z: f64) -> (f64, f64) {
    let density = libm::exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt();
    let above = 1.0 - normal_share(z);
    // So far out the tail is an exponential.
    let first = if above > 1e-300 { density / above } else { z + 1.0 / z };
    (first, 1.0 + z * first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Shape = Shape::LogNormal { median: 5.0, sigma: 1.0 };

    fn times(count: u64) -> Vec<Duration> {
        let truth = Shape::LogNormal { median: 20.0, sigma: 0.6 };
        (0..count).map(|index| truth.duration(stormproof_router::core::mix(index))).collect()
    }

    fn parts(shape: Shape) -> (f64, f64) {
        let Shape::LogNormal { median, sigma } = shape else { panic!("{shape:?}") };
        (median, sigma)
    }

    #[test]
    fn cut_calls_are_not_forgotten() {
        let limit = Duration::from_secs(25);
        let (whole, cut): (Vec<Duration>, Vec<Duration>) = times(4000).into_iter().partition(|time| *time < limit);
        assert!(cut.len() > 1000);
        let cut: Vec<Duration> = cut.iter().map(|_| limit).collect();
        let (median, sigma) = parts(Fitted::new(&whole, &cut, &USUAL).shape());
        assert!((median - 20.0).abs() < 0.8 && (sigma - 0.6).abs() < 0.04, "{median} {sigma}");
        let (naive, _) = parts(Fitted::new(&whole, &[], &USUAL).shape());
        assert!(naive < 16.0, "{naive}");
    }

    #[test]
    fn without_answers_the_usual_shape_stands_in() {
        let (median, sigma) = parts(Fitted::new(&[], &[], &USUAL).shape());
        assert!((median - 5.0).abs() < 1e-9 && (sigma - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_guess_is_as_sure_as_what_was_seen() {
        let spread = |count| {
            let fitted = Fitted::new(&times(count), &[], &USUAL);
            let mut chance = Chance::new(1, 1);
            let medians: Vec<f64> = (0..200).map(|_| parts(fitted.drawn(&mut chance)).0).collect();
            let mean = medians.iter().sum::<f64>() / 200.0;
            (medians.iter().map(|median| (median - mean) * (median - mean)).sum::<f64>() / 200.0).sqrt()
        };
        assert!(spread(20) > 5.0 * spread(2000));
    }
}
