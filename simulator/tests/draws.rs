//! Our own draws against a library's, as an oracle: the values may differ, the distributions may not.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp, LogNormal, Normal, Uniform};
use stormproof_router::core::{Duration, ModelId, Timestamp, draw};
use stormproof_simulator::clients::{Arrivals, Rate, Spec, turns};
use stormproof_simulator::draws::{Shape, normal_quantile};

const SAMPLES: usize = 40_000;

/// The largest distance between two empirical distribution functions (Kolmogorov and Smirnov).
fn distance(mut ours: Vec<f64>, mut theirs: Vec<f64>) -> f64 {
    ours.sort_by(f64::total_cmp);
    theirs.sort_by(f64::total_cmp);
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < ours.len() && j < theirs.len() {
        if ours[i] <= theirs[j] {
            i += 1
        } else {
            j += 1
        }
        let (share, other) = (i as f64 / ours.len() as f64, j as f64 / theirs.len() as f64);
        largest = largest.max((share - other).abs());
    }
    largest
}

/// Above this, two samples of one distribution differ once in a million times.
fn critical() -> f64 {
    2.69 * (2.0 / SAMPLES as f64).sqrt()
}

fn drawn(shape: Shape, stream: u64) -> Vec<f64> {
    (0..SAMPLES as u64).map(|index| shape.value(draw(7, stream, 0, index))).collect()
}

fn sampled(distribution: impl Distribution<f64>) -> Vec<f64> {
    distribution.sample_iter(StdRng::seed_from_u64(11)).take(SAMPLES).collect()
}

#[test]
fn our_shapes_are_the_library_s_distributions() {
    let lognormal = Shape::LogNormal { median: 20.0, sigma: 0.6 };
    let uniform = Shape::Uniform { min: 600.0, max: 1200.0 };
    let pairs = [
        (drawn(Shape::Exponential { mean: 5.0 }, 1), sampled(Exp::new(0.2).unwrap())),
        (drawn(lognormal, 2), sampled(LogNormal::new(libm::log(20.0), 0.6).unwrap())),
        (drawn(uniform, 3), sampled(Uniform::new(600.0, 1200.0).unwrap())),
        (
            drawn(lognormal, 4).iter().map(|x| libm::log(x / 20.0) / 0.6).collect(),
            sampled(Normal::new(0.0, 1.0).unwrap()),
        ),
    ];
    for (index, (ours, theirs)) in pairs.into_iter().enumerate() {
        let found = distance(ours, theirs);
        assert!(found < critical(), "pair {index}: {found} is not below {}", critical());
    }
}

#[test]
fn the_test_would_notice_a_wrong_distribution() {
    let wrong = drawn(Shape::LogNormal { median: 20.0, sigma: 0.65 }, 2);
    assert!(distance(wrong, sampled(LogNormal::new(libm::log(20.0), 0.6).unwrap())) > critical());
}

/// Quantiles to 16 digits, from tables.
#[test]
fn the_normal_quantile_is_exact_in_all_three_branches() {
    let table = [
        (0.5, 0.0),
        (0.75, 0.674_489_750_196_081_7),
        (0.975, 1.959_963_984_540_054),
        (0.999, 3.090_232_306_167_813),
        (1e-9, -5.997_807_015_007_687),
        (1e-15, -7.941_345_326_170_998),
    ];
    for (p, z) in table {
        assert!((normal_quantile(p) - z).abs() < 1e-13, "{p}: {} is not {z}", normal_quantile(p));
    }
}

#[test]
fn a_shape_goes_through_its_quantiles() {
    let shape = Shape::from_quantiles(20.0, 80.0, 0.99);
    let mut values = drawn(shape, 5);
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * SAMPLES as f64) as usize];
    assert!((at(0.5) - 20.0).abs() < 0.5, "{}", at(0.5));
    assert!((at(0.99) - 80.0).abs() < 4.0, "{}", at(0.99));
}

fn arrivals(arrivals: Arrivals, until: u64) -> Vec<f64> {
    let spec = Spec::simple(ModelId::new(0), arrivals, Duration::from_secs(60));
    let turns = turns(&[spec], 3, Timestamp::ZERO + Duration::from_secs(until));
    turns.iter().map(|turn| turn.at.as_secs_f64()).collect()
}

fn rate(from: u64, per_s: f64) -> Rate {
    Rate { from: Timestamp::ZERO + Duration::from_secs(from), per_s }
}

#[test]
fn poisson_gaps_are_exponential_and_follow_the_rate() {
    let times = arrivals(Arrivals::Poisson(vec![rate(0, 2.0)]), SAMPLES as u64);
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).take(SAMPLES).collect();
    assert!(distance(gaps, sampled(Exp::new(2.0).unwrap())) < critical());

    let pieces = vec![rate(0, 1.0), rate(10_000, 0.0), rate(20_000, 4.0)];
    let times = arrivals(Arrivals::Poisson(pieces), 30_000);
    let count = |from: f64, to: f64| times.iter().filter(|at| (from..to).contains(*at)).count() as f64;
    assert_eq!(count(10_000.0, 20_000.0), 0.0);
    for (found, expected) in [(count(0.0, 10_000.0), 10_000.0f64), (count(20_000.0, 30_000.0), 40_000.0)] {
        assert!((found - expected).abs() < 4.0 * expected.sqrt(), "{found}, expected {expected}");
    }
}

#[test]
fn even_arrivals_are_even_across_a_change_of_rate() {
    let times = arrivals(Arrivals::Even(vec![rate(0, 0.5), rate(5, 1.0)]), 9);
    assert_eq!(times, [0.0, 2.0, 4.0, 5.5, 6.5, 7.5, 8.5], "half of the gap that began at 4 s had passed at 5 s");
}

#[test]
fn another_client_does_not_shift_the_first_one_s_turns() {
    let spec = Spec::simple(ModelId::new(0), Arrivals::Poisson(vec![rate(0, 1.0)]), Duration::from_secs(60));
    let until = Timestamp::ZERO + Duration::from_secs(1000);
    let alone = turns(std::slice::from_ref(&spec), 3, until);
    let both = turns(&[spec.clone(), spec], 3, until);
    let first: Vec<_> = both.iter().filter(|turn| turn.client() == 0).copied().collect();
    assert_eq!(alone, first);
    assert!(both.windows(2).all(|pair| pair[0].at <= pair[1].at));
}
