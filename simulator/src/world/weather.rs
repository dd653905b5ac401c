//! When a model is overloaded: episodes from a list, from a two-state process, or shared with another model, folded
//! into one step function of time.

use stormproof_router::core::{Duration, Timestamp, unit};

use super::spec::{Episode, Process, Spec, Weather};
use crate::draws::{Stream, split};

/// Probability of a 503 over time. Asked with times that never go back.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    /// The probability from each moment on; the first step is at zero.
    steps: Vec<(Timestamp, f64)>,
    /// The step that holds now.
    current: usize,
    /// What the operator of the mock, or a scenario's change, says instead.
    forced: Option<Episode>,
    /// The probability that was last asked for, and until when it stays as it is.
    known: (f64, Timestamp),
}

impl Forecast {
    pub(super) fn new(noise: f64, episodes: &[Episode]) -> Self {
        let mut edges: Vec<Timestamp> = episodes.iter().flat_map(|episode| [episode.from, episode.until]).collect();
        edges.push(Timestamp::ZERO);
        edges.sort_unstable();
        edges.dedup();
        let mut steps: Vec<(Timestamp, f64)> = Vec::with_capacity(edges.len());
        for at in edges {
            let p = episodes
                .iter()
                .filter(|episode| episode.from <= at && at < episode.until)
                .fold(noise, |p, episode| p.max(episode.p503));
            if steps.last().is_none_or(|(_, before)| *before != p) {
                steps.push((at, p));
            }
        }
        Self { steps, current: 0, forced: None, known: (0.0, Timestamp::ZERO) }
    }

    /// The probability of a 503 now.
    #[inline]
    pub(super) fn p503(&mut self, now: Timestamp) -> f64 {
        let (p503, until) = self.known;
        if now < until { p503 } else { self.look_up(now) }
    }

    #[cold]
    fn look_up(&mut self, now: Timestamp) -> f64 {
        while self.steps.get(self.current + 1).is_some_and(|(from, _)| *from <= now) {
            self.current += 1;
        }
        let next = self.steps.get(self.current + 1).map_or(Timestamp::MAX, |(from, _)| *from);
        self.known = match self.forced {
            Some(forced) if now < forced.from => (self.steps[self.current].1, next.min(forced.from)),
            Some(forced) if now < forced.until => (forced.p503, forced.until),
            Some(_) | None => (self.steps[self.current].1, next),
        };
        self.known.0
    }

    /// What was forecast for any moment.
    pub(super) fn at(&self, at: Timestamp) -> f64 {
        let after = self.steps.partition_point(|(from, _)| *from <= at);
        after.checked_sub(1).map_or(0.0, |step| self.steps[step].1)
    }

    /// Overrides the forecast for a time.
    pub(super) fn force(&mut self, episode: Episode) {
        self.forced = Some(episode);
        self.known.1 = Timestamp::ZERO;
    }

    /// The steps, from zero on.
    pub(super) fn steps(&self) -> &[(Timestamp, f64)] {
        &self.steps
    }
}

/// The episodes of one upstream up to the horizon, unordered where lists and processes overlap.
pub(super) fn episodes(spec: &Spec, upstream: usize, seed: u64, horizon: Timestamp) -> Vec<Episode> {
    let weather = &spec.upstreams[upstream].weather;
    let mut all = own_episodes(weather, upstream, seed, horizon);
    if let Some(follows) = weather.follows
        && let Some(leader) = spec.upstreams.get(follows.upstream.index())
    {
        let shared = own_episodes(&leader.weather, follows.upstream.index(), seed, horizon);
        all.extend(
            shared.into_iter().map(|episode| Episode { p503: (episode.p503 * follows.factor).min(1.0), ..episode }),
        );
    }
    all
}

fn own_episodes(weather: &Weather, upstream: usize, seed: u64, horizon: Timestamp) -> Vec<Episode> {
    let mut all: Vec<Episode> = weather.episodes.iter().copied().filter(|episode| episode.from < horizon).collect();
    if let Some(process) = &weather.process {
        drawn(process, upstream, seed, horizon, &mut all);
    }
    all
}

fn drawn(process: &Process, upstream: usize, seed: u64, horizon: Timestamp, all: &mut Vec<Episode>) {
    let mut at = Timestamp::ZERO;
    for index in 0.. {
        let bits = Stream::Weather.draw(seed, upstream as u64, index);
        // A phase of no length at all would never end.
        let from = at + process.healthy.duration(split(bits, 1)).max(Duration::from_millis(1));
        if from >= horizon {
            return;
        }
        let until = from + process.episode.duration(split(bits, 2));
        all.push(Episode { from, until, p503: process.p503.value(split(bits, 3)).clamp(0.0, 1.0) });
        at = until;
    }
}

/// Whether a coin with this probability falls on the bad side.
pub(super) fn strikes(bits: u64, p: f64) -> bool {
    unit(bits) < p
}
