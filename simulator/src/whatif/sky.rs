//! When a model was overloaded, from what calls met: a posterior over a process of two states, calm and overloaded, in
//! which every episode has a strength of its own.
//!
//! Time is cut into short bins. In each the model is calm, with a small probability of a 503, or overloaded at one of a
//! few levels; it changes from one to the other at rates that are not known either. An episode has four stages, which
//! it passes one after the other, so that its length is about the mean and not mostly next to nothing. A Gibbs sampler
//! alternates between the path (forward filtering, backward sampling) and the rates, the noise and the levels given the
//! path. Where calls were made the path follows them; where none were made it goes its own way, differently in every
//! sample: that is how time in which nothing was seen comes into the intervals.
//!
//! Before anything is seen, a model is believed to be calm for three quarters of an hour and overloaded for one quarter,
//! give or take a factor of two; nothing else is known of the day. Where a log saw hardly anything, this belief is most
//! of the answer.

use stormproof_router::core::{Duration, Timestamp};

use super::chance::Chance;
use super::shared::Watch;
use crate::world::Episode;

/// What the calls to one upstream model met.
#[derive(Clone, Debug, Default)]
pub(super) struct Sightings {
    /// When, and whether it was overloaded; ascending.
    pub(super) seen: Vec<(Timestamp, bool)>,
}

/// One possible day of one upstream model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sky {
    /// Probability of a 503 while calm.
    pub(super) noise: f64,
    pub(super) episodes: Vec<Episode>,
}

/// Shortest bin, and how many there are at most.
const BIN: Duration = Duration::from_secs(10);
const BINS_MAX: u64 = 20_000;
/// Levels of overload: 10 % to 95 %.
const LEVELS: usize = 18;
/// Stages of an episode.
const STAGES: usize = 4;
/// States: calm, then the stages of each level.
const STATES: usize = 1 + LEVELS * STAGES;
/// Rounds before the first sample is taken, and between two.
const BURN_IN: usize = 40;
const THINNING: usize = 5;
/// What is believed before anything is seen: so many episodes in so many seconds of calm, so many ends in so many of
/// overload, so many 503s in so many calm calls, and so many episodes, of any strength.
const ONSETS: (f64, f64) = (2.0, 5400.0);
const ENDS: (f64, f64) = (4.0, 3600.0);
pub(super) const NOISE: (f64, f64) = (0.5, 49.5);
const STRENGTHS: f64 = 2.0;
/// Noise is less than the weakest overload.
const NOISE_MAX: f64 = 0.06;
/// A call tells something about the time so close to it.
const SIGHT: Duration = Duration::from_secs(30);

/// The state of a stage of a level, and back.
fn state_of(level: usize, stage: usize) -> usize {
    1 + level * STAGES + stage
}

fn level_of(state: usize) -> Option<(usize, usize)> {
    state.checked_sub(1).map(|place| (place / STAGES, place % STAGES))
}

fn strength(level: usize) -> f64 {
    0.10 + 0.05 * level as f64
}

impl Sightings {
    /// When something was seen of the model: no more than half a minute away from a call.
    pub(super) fn lit(&self, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut lit: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (at, _) in &self.seen {
            let start = Timestamp::from_nanos(at.as_nanos().saturating_sub(SIGHT.as_nanos())).max(from);
            let end = (*at + SIGHT).min(until);
            match lit.last_mut() {
                Some((_, before)) if start <= *before => *before = end.max(*before),
                Some(_) | None => lit.push((start, end)),
            }
        }
        lit
    }

    /// The share of the time in which nothing was seen of the model.
    fn dark(&self, from: Timestamp, until: Timestamp) -> f64 {
        let whole = until.since(from).as_secs_f64();
        let lit: f64 = self.lit(from, until).iter().map(|(start, end)| end.since(*start).as_secs_f64()).sum();
        if whole > 0.0 { (1.0 - lit / whole).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// So many possible days, for a model with a weather of its own.
    pub(super) fn watch(self, from: Timestamp, until: Timestamp, count: usize, chance: &mut Chance) -> Watch {
        let mut chain = Chain::new(&self, from, until);
        let mut skies = Vec::with_capacity(count);
        let mut evidence = Vec::with_capacity(count);
        for round in 0..BURN_IN + THINNING * count {
            chain.walk(chance);
            if round >= BURN_IN && (round - BURN_IN).is_multiple_of(THINNING) {
                skies.push(chain.sky(chance));
                evidence.push(chain.evidence);
            }
            chain.learn(chance);
        }
        let most = evidence.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = evidence.iter().map(|one| libm::exp(one - most)).sum();
        let evidence = if evidence.is_empty() { 0.0 } else { most + libm::log(sum / evidence.len() as f64) };
        let dark = self.dark(from, until);
        Watch { sightings: self, skies, evidence, dark, follows: None }
    }
}

/// The overload that at least half of the guesses agree on, as strong as they say on average.
pub(super) fn consensus(skies: &[Sky]) -> Vec<Episode> {
    let mut edges: Vec<(Timestamp, i64, f64)> = Vec::new();
    for episode in skies.iter().flat_map(|sky| &sky.episodes) {
        edges.push((episode.from, 1, episode.p503));
        edges.push((episode.until, -1, -episode.p503));
    }
    edges.sort_by_key(|(at, change, _)| (*at, *change));
    let mut found = Vec::new();
    let (mut agree, mut sum) = (0, 0.0);
    // When the current stretch began, and its strength times seconds.
    let mut stretch: Option<(Timestamp, f64)> = None;
    let mut before = Timestamp::ZERO;
    for (at, change, p503) in edges {
        if let Some((_, strength)) = &mut stretch {
            *strength += at.since(before).as_secs_f64() * sum / agree as f64;
        }
        (agree, sum, before) = (agree + change, sum + p503, at);
        let most = agree * 2 >= skies.len() as i64;
        match (stretch, most) {
            (None, true) => stretch = Some((at, 0.0)),
            (Some((from, strength)), false) => {
                stretch = None;
                let length = at.since(from).as_secs_f64();
                if length > 0.0 {
                    found.push(Episode { from, until: at, p503: strength / length });
                }
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    found
}

/// The sampler's state.
struct Chain {
    from: Timestamp,
    until: Timestamp,
    bin: Duration,
    /// Calls and 503s in each bin.
    bins: Vec<(f64, f64)>,
    /// How likely each bin's calls are at each level, over the most likely one; empty where there are none.
    likely: Vec<[f64; LEVELS]>,
    /// Logarithm of what `likely` is over.
    scale: Vec<f64>,
    /// Per second, from calm to overloaded and from stage to stage.
    onset: f64,
    advance: f64,
    noise: f64,
    levels: [f64; LEVELS],
    path: Vec<usize>,
    /// Logarithm of the probability of all calls, over every path.
    evidence: f64,
    forward: Vec<[f64; STATES]>,
}

impl Chain {
    fn new(sightings: &Sightings, from: Timestamp, until: Timestamp) -> Self {
        let whole = until.since(from).as_nanos().max(1);
        let bin = Duration::from_nanos(BIN.as_nanos().max(whole.div_ceil(BINS_MAX)));
        let count = whole.div_ceil(bin.as_nanos()) as usize;
        let mut bins = vec![(0.0, 0.0); count];
        for (at, overloaded) in &sightings.seen {
            let place = (at.since(from).as_nanos() / bin.as_nanos()) as usize;
            let (calls, refused) = &mut bins[place.min(count - 1)];
            *calls += 1.0;
            *refused += f64::from(*overloaded);
        }
        let logs: Vec<(f64, f64)> =
            (0..LEVELS).map(|level| (libm::log(strength(level)), libm::log(1.0 - strength(level)))).collect();
        let mut scale = vec![0.0; count];
        let likely = bins.iter().zip(&mut scale).map(|((calls, refused), scale)| {
            let log = |level: usize| refused * logs[level].0 + (calls - refused) * logs[level].1;
            *scale = (0..LEVELS).map(log).fold(f64::NEG_INFINITY, f64::max);
            std::array::from_fn(|level| libm::exp(log(level) - *scale))
        });
        Self {
            from,
            until,
            bin,
            likely: likely.collect(),
            scale,
            onset: ONSETS.0 / ONSETS.1,
            advance: STAGES as f64 * ENDS.0 / ENDS.1,
            noise: NOISE.0 / (NOISE.0 + NOISE.1),
            levels: [1.0 / LEVELS as f64; LEVELS],
            path: vec![0; count],
            evidence: 0.0,
            forward: vec![[0.0; STATES]; count],
            bins,
        }
    }

    /// Draws a path, given everything else.
    fn walk(&mut self, chance: &mut Chance) {
        let seconds = self.bin.as_secs_f64();
        let begins = 1.0 - libm::exp(-self.onset * seconds);
        let advances = 1.0 - libm::exp(-self.advance * seconds);
        let (good, bad) = (libm::log(1.0 - self.noise), libm::log(self.noise));
        let stages = STAGES as f64;
        let overloaded = self.onset / (self.onset + self.advance / stages);
        let mut before = [1.0 - overloaded; STATES];
        for (state, share) in before.iter_mut().enumerate() {
            if let Some((level, _)) = level_of(state) {
                *share = overloaded * self.levels[level] / stages;
            }
        }
        self.evidence = 0.0;
        for place in 0..self.bins.len() {
            let mut now = [0.0; STATES];
            now[0] = before[0] * (1.0 - begins);
            for level in 0..LEVELS {
                let mut enters = before[0] * begins * self.levels[level];
                for stage in 0..STAGES {
                    let here = before[state_of(level, stage)];
                    now[state_of(level, stage)] = here * (1.0 - advances) + enters;
                    enters = here * advances;
                }
                now[0] += enters;
            }
            let (calls, refused) = self.bins[place];
            if calls > 0.0 {
                let calm = refused * bad + (calls - refused) * good;
                // Both sides over the larger, so that neither can vanish.
                let over = calm.max(self.scale[place]);
                self.evidence += over;
                now[0] *= libm::exp(calm - over);
                let factor = libm::exp(self.scale[place] - over);
                for (level, stages) in now[1..].chunks_exact_mut(STAGES).enumerate() {
                    stages.iter_mut().for_each(|share| *share *= factor * self.likely[place][level]);
                }
            }
            let sum: f64 = now.iter().sum();
            self.evidence += libm::log(sum);
            now.iter_mut().for_each(|share| *share /= sum);
            self.forward[place] = now;
            before = now;
        }
        let mut state = chance.choose(&before);
        for place in (0..self.bins.len()).rev() {
            if place + 1 < self.bins.len() {
                let shares = &self.forward[place];
                let mut weights = [0.0; STATES];
                match level_of(state) {
                    None => {
                        weights[0] = shares[0] * (1.0 - begins);
                        for level in 0..LEVELS {
                            let last = state_of(level, STAGES - 1);
                            weights[last] = shares[last] * advances;
                        }
                    }
                    Some((level, stage)) => {
                        weights[state] = shares[state] * (1.0 - advances);
                        match stage {
                            0 => weights[0] = shares[0] * begins * self.levels[level],
                            _ => weights[state - 1] = shares[state - 1] * advances,
                        }
                    }
                }
                state = chance.choose(&weights);
            }
            self.path[place] = state;
        }
    }

    /// The stretches of the path, calm or at one level: the level, the first bin, the one behind the last.
    fn stretches(&self) -> Vec<(Option<usize>, usize, usize)> {
        let mut all: Vec<(Option<usize>, usize, usize)> = Vec::new();
        for (place, state) in self.path.iter().enumerate() {
            let level = level_of(*state).map(|(level, _)| level);
            match all.last_mut() {
                Some((before, _, end)) if *before == level => *end = place + 1,
                Some(_) | None => all.push((level, place, place + 1)),
            }
        }
        all
    }

    /// Draws everything else, given the path.
    fn learn(&mut self, chance: &mut Chance) {
        let seconds = self.bin.as_secs_f64();
        let (mut calm, mut stormy, mut onsets) = (0.0, 0.0, 0.0);
        let (mut calls, mut refused) = (0.0, 0.0);
        let mut weights = [STRENGTHS / LEVELS as f64; LEVELS];
        for (level, first, end) in self.stretches() {
            let length = (end - first) as f64 * seconds;
            match level {
                None => {
                    calm += length;
                    for (all, bad) in &self.bins[first..end] {
                        calls += all;
                        refused += bad;
                    }
                }
                Some(level) => {
                    stormy += length;
                    onsets += f64::from(first > 0);
                    // Episodes of about this strength become likelier.
                    for (other, weight) in weights.iter_mut().enumerate() {
                        let far = level.abs_diff(other) as f64 / 2.0;
                        *weight += 0.2 * libm::exp(-0.5 * far * far);
                    }
                }
            }
        }
        self.onset = chance.gamma(ONSETS.0 + onsets) / (ONSETS.1 + calm);
        let advanced = self.path.windows(2).filter(|pair| pair[0] != 0 && pair[0] != pair[1]).count() as f64;
        self.advance = chance.gamma(STAGES as f64 * ENDS.0 + advanced) / (ENDS.1 + stormy);
        self.noise = chance.beta(NOISE.0 + refused, NOISE.1 + calls - refused).clamp(1e-6, NOISE_MAX);
        let sum: f64 = weights.iter().sum();
        self.levels = weights.map(|weight| weight / sum);
    }

    /// The day of the current path. Edges lie anywhere within half a bin, and strengths anywhere within what was seen of
    /// an episode.
    fn sky(&self, chance: &mut Chance) -> Sky {
        /// Calls from which on an episode's strength is known better than its level says.
        const MANY: f64 = 30.0;
        const LINGER: Duration = Duration::from_secs(600);
        let mut episodes = Vec::new();
        let count = self.path.len();
        let edge = |place: usize, chance: &mut Chance| {
            let offset = (place as f64 + chance.unit() - 0.5) * self.bin.as_secs_f64();
            self.from + Duration::from_secs_f64(offset.max(0.0))
        };
        let mut from = None;
        for (level, first, end) in self.stretches() {
            let start = from.unwrap_or(self.from);
            // What is overloaded at the end of the log will be so a little longer, for those who still wait.
            let until = if end == count { self.until + LINGER } else { edge(end, chance) };
            from = Some(until);
            let Some(level) = level else { continue };
            let (calls, refused) =
                self.bins[first..end].iter().fold((0.0, 0.0), |(calls, bad), bin| (calls + bin.0, bad + bin.1));
            let p503 = if calls >= MANY {
                chance.beta(1.0 + refused, 1.0 + calls - refused)
            } else {
                strength(level) + (chance.unit() - 0.5) * 0.05
            };
            episodes.push(Episode { from: start, until, p503: p503.clamp(self.noise, 1.0) });
        }
        Sky { noise: self.noise, episodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(secs)
    }

    /// The share of a day in which a sky is stormy.
    fn stormy(sky: &Sky, from: f64, until: f64) -> f64 {
        let within = |episode: &Episode| {
            let (begin, end) = (episode.from.as_secs_f64().max(from), episode.until.as_secs_f64().min(until));
            (end - begin).max(0.0)
        };
        sky.episodes.iter().map(within).sum::<f64>() / (until - from)
    }

    fn share(skies: &[Sky], from: f64, until: f64) -> f64 {
        skies.iter().map(|sky| stormy(sky, from, until)).sum::<f64>() / skies.len() as f64
    }

    /// Calls once a second in the part of the day where `seen` says so; the model is overloaded from 3000 to 4000 s.
    fn day(seen: impl Fn(f64) -> bool) -> Sightings {
        let mut chance = Chance::new(5, 5);
        let mut call = |secs: f64| {
            let p = if (3000.0..4000.0).contains(&secs) { 0.7 } else { 0.01 };
            (at(secs), chance.unit() < p)
        };
        Sightings { seen: (0..7200).map(f64::from).filter(|secs| seen(*secs)).map(&mut call).collect() }
    }

    fn skies(sightings: &Sightings) -> Vec<Sky> {
        sightings.clone().watch(at(0.0), at(7200.0), 200, &mut Chance::new(1, 1)).skies
    }

    #[test]
    fn what_was_seen_is_certain() {
        for sky in skies(&day(|_| true)) {
            // Two 503s close together may be a little overload.
            let strong: Vec<&Episode> = sky.episodes.iter().filter(|episode| episode.p503 > 0.3).collect();
            let [Episode { from, until, p503 }] = strong[..] else { panic!("{sky:?}") };
            assert!((from.as_secs_f64() - 3000.0).abs() < 30.0 && (until.as_secs_f64() - 4000.0).abs() < 30.0);
            assert!((p503 - 0.7).abs() < 0.08 && sky.noise < 0.02, "{sky:?}");
        }
    }

    #[test]
    fn what_was_not_seen_is_as_before_anything_was() {
        let none = skies(&Sightings::default());
        let prior = share(&none, 0.0, 7200.0);
        assert!((0.15..0.4).contains(&prior), "{prior}");
        assert!(none.iter().any(|sky| sky.episodes.is_empty()) && none.iter().any(|sky| sky.episodes.len() > 2));
    }

    #[test]
    fn dark_time_is_uncertain_and_the_rest_is_not() {
        let half = day(|secs| !(1500.0..=6500.0).contains(&secs));
        let skies = skies(&half);
        assert!(share(&skies, 0.0, 1400.0) < 0.01 && share(&skies, 6600.0, 7200.0) < 0.01);
        let dark = share(&skies, 2000.0, 6000.0);
        assert!((0.05..0.4).contains(&dark), "{dark}");
        let truth = 1000.0 / 4000.0;
        let shares: Vec<f64> = skies.iter().map(|sky| stormy(sky, 2000.0, 6000.0)).collect();
        assert!(shares.iter().any(|share| *share > truth) && shares.iter().any(|share| *share < truth));
        assert!((half.dark(at(0.0), at(7200.0)) - 4940.0 / 7200.0).abs() < 0.01);
        assert!(day(|_| true).dark(at(0.0), at(7200.0)) < 1e-9);
        assert!((Sightings::default().dark(at(0.0), at(7200.0)) - 1.0).abs() < 1e-9);
    }
}
