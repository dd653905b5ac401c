//! Overloads that models share. A fallback is called while the model before it is overloaded and hardly ever else, so
//! most of its time is dark; but when it was overloaded whenever it was called, then most likely because both fail
//! together, and what is known of the one says what the other was like in the dark.
//!
//! The model of which most was seen leads. Each other one either has a weather of its own, or follows: overloaded when
//! the leader is, by one factor more or less, and calm else. What its calls met says how likely each of the two is.

use super::chance::Chance;
use super::sky::{NOISE, Sightings, Sky};
use crate::world::Episode;

/// What is known about when one model was overloaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    pub(super) sightings: Sightings,
    /// One possible day for each seed.
    pub(super) skies: Vec<Sky>,
    /// Logarithm of the probability of everything seen, if the model has a weather of its own.
    pub(super) evidence: f64,
    /// Share of the time in which nothing was seen of it.
    pub(super) dark: f64,
    /// Probability that it follows the leader; nothing for the leader itself.
    pub(super) follows: Option<f64>,
}

/// What is believed before anything is seen: models of one provider fail together as often as not.
const BELIEF: f64 = 0.5;
/// Factors that are tried: a tenth to four, each so much larger than the one before (as a logarithm).
const FACTORS: usize = 24;
const STEP: f64 = 0.16;

/// Lets models follow the one of which most was seen, in as many guesses as it is likely.
pub(super) fn share(watches: &mut [&mut Watch], chance: &mut Chance) {
    let seen = watches.iter().enumerate().filter(|(_, watch)| !watch.sightings.seen.is_empty());
    let leader = seen.min_by(|(_, one), (_, other)| one.dark.total_cmp(&other.dark)).map(|(index, _)| index);
    let Some(leader) = leader else { return };
    let leading = watches[leader].skies.clone();
    for (index, watch) in watches.iter_mut().enumerate() {
        if index == leader || leading.is_empty() {
            continue;
        }
        let links: Vec<Link> = leading.iter().map(|sky| Link::new(&watch.sightings, sky)).collect();
        let most = links.iter().map(|link| link.evidence).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = links.iter().map(|link| libm::exp(link.evidence - most)).collect();
        let evidence = most + libm::log(weights.iter().sum::<f64>() / weights.len() as f64);
        let odds = BELIEF / (1.0 - BELIEF) * libm::exp((evidence - watch.evidence).clamp(-700.0, 700.0));
        let follows = odds / (1.0 + odds);
        for sky in &mut watch.skies {
            if chance.unit() < follows {
                let chosen = chance.choose(&weights);
                *sky = links[chosen].sky(&leading[chosen], chance);
            }
        }
        watch.follows = Some(follows);
    }
}

/// A follower under one possible day of its leader.
struct Link {
    evidence: f64,
    /// Probability of each factor.
    factors: Vec<f64>,
    /// 503s and other answers while the leader was calm.
    calm: (f64, f64),
}

impl Link {
    fn new(sightings: &Sightings, leader: &Sky) -> Self {
        let mut calm = (0.0, 0.0);
        let mut stormy = vec![(0.0, 0.0); leader.episodes.len()];
        let mut current = 0;
        for (at, overloaded) in &sightings.seen {
            while leader.episodes.get(current).is_some_and(|episode| episode.until <= *at) {
                current += 1;
            }
            let within = leader.episodes.get(current).is_some_and(|episode| episode.from <= *at);
            let counts = if within { &mut stormy[current] } else { &mut calm };
            if *overloaded { counts.0 += 1.0 } else { counts.1 += 1.0 }
        }
        let logs: Vec<f64> = (0..FACTORS).map(|place| log_likelihood(place, &stormy, &leader.episodes)).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let factors: Vec<f64> = logs.iter().map(|log| libm::exp(log - most)).collect();
        let mean = factors.iter().sum::<f64>() / FACTORS as f64;
        let noise = log_beta(NOISE.0 + calm.0, NOISE.1 + calm.1) - log_beta(NOISE.0, NOISE.1);
        Self { evidence: most + libm::log(mean) + noise, factors, calm }
    }

    /// A possible day of the follower.
    fn sky(&self, leader: &Sky, chance: &mut Chance) -> Sky {
        let noise = chance.beta(NOISE.0 + self.calm.0, NOISE.1 + self.calm.1).clamp(1e-6, 0.06);
        let factor = factor(chance.choose(&self.factors) as f64 + chance.unit() - 0.5);
        let follow = |episode: &Episode| Episode { p503: weakened(episode.p503, factor).max(noise), ..*episode };
        Sky { noise, episodes: leader.episodes.iter().map(follow).collect() }
    }
}

fn factor(place: f64) -> f64 {
    0.1 * libm::exp(STEP * place)
}

fn weakened(p503: f64, factor: f64) -> f64 {
    (p503 * factor).clamp(0.01, 0.99)
}

fn log_likelihood(place: usize, stormy: &[(f64, f64)], episodes: &[Episode]) -> f64 {
    let log = |((refused, taken), episode): (&(f64, f64), &Episode)| {
        let p = weakened(episode.p503, factor(place as f64));
        refused * libm::log(p) + taken * libm::log(1.0 - p)
    };
    stormy.iter().zip(episodes).map(log).sum()
}

fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::{Duration, Timestamp};

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    /// A leader that is seen all day and a follower that is seen while the leader is overloaded; `p` is the follower's.
    fn watched(p: impl Fn(u64) -> f64) -> (Watch, Watch) {
        let storm = |secs: u64| (1000..2000).contains(&secs) || (4000..5000).contains(&secs);
        let mut chance = Chance::new(2, 2);
        let mut sight = |secs: u64, p: f64| (at(secs), chance.unit() < p);
        let leader = (0..7200).map(|secs| sight(secs, if storm(secs) { 0.8 } else { 0.01 })).collect();
        let follower = (0..7200).filter(|secs| storm(*secs)).map(|secs| sight(secs, p(secs))).collect();
        let mut chance = Chance::new(3, 3);
        let mut watch = |seen| Sightings { seen }.watch(at(0), at(7200), 40, &mut chance);
        (watch(leader), watch(follower))
    }

    fn episodes(watch: &Watch) -> f64 {
        watch.skies.iter().map(|sky| sky.episodes.len() as f64).sum::<f64>() / watch.skies.len() as f64
    }

    #[test]
    fn who_fails_together_is_calm_together() {
        let (mut leader, mut follower) = watched(|_| 0.48);
        share(&mut [&mut leader, &mut follower], &mut Chance::new(1, 1));
        assert_eq!(leader.follows, None);
        assert!(follower.follows.is_some_and(|follows| follows > 0.9), "{:?}", follower.follows);
        assert!((episodes(&follower) - 2.0).abs() < 0.3, "{}", episodes(&follower));
    }

    #[test]
    fn who_is_well_while_the_other_is_ill_does_not_follow() {
        let (mut leader, mut follower) = watched(|secs| if secs < 3000 { 0.01 } else { 0.5 });
        share(&mut [&mut leader, &mut follower], &mut Chance::new(1, 1));
        assert!(follower.follows.is_some_and(|follows| follows < 0.01), "{:?}", follower.follows);
    }
}
