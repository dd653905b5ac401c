//! Who asked on a recorded day: the turns as they began, in groups of like ones, and what their clients do about a
//! failed call, told from what they did.

use std::collections::BTreeMap;

use stormproof_router::core::{Duration, Endpoint, Settings, Tokens};

use super::evidence::{End, Evidence, Shape, Turn};
use super::universe::Universe;
use crate::clients::{Arrivals, Behaviour, Ladder, Next, Retries, Sdk, Sizes, Spec, TraceTurn, key};
use crate::draws::Shape as Drawn;

/// The clients of a recorded day.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    pub(super) specs: Vec<Spec>,
    /// The key of each turn of the log, in its order: what luck hangs on.
    pub(super) keys: Vec<u64>,
    /// The patience of each turn.
    pub(super) patience: Vec<Duration>,
}

/// What clients are known to do, the likeliest first where nothing tells them apart.
const HABITS: [Retries; 4] = [
    Retries { sdk: None, ladder: None },
    Retries { sdk: Some(Sdk::OPENAI), ladder: None },
    Retries::AIDER,
    Retries { sdk: None, ladder: Some(Ladder::AIDER) },
];

/// Two readings of a live driver's clock are closer than this.
const CLOCK: Duration = Duration::from_millis(100);

impl Crowd {
    pub(super) fn new(evidence: &Evidence) -> Self {
        let mut sizes: Vec<Option<(Tokens, Tokens)>> = vec![None; evidence.turns.len()];
        for call in &evidence.calls {
            if let (true, Some(usage)) = (call.is_good(), call.usage) {
                sizes[call.turn] = Some((usage.input, usage.output));
            }
        }
        let mut groups: BTreeMap<Shape, Vec<usize>> = BTreeMap::new();
        for (index, turn) in evidence.turns.iter().enumerate() {
            groups.entry(turn.shape).or_default().push(index);
        }
        let count = evidence.turns.len();
        let mut crowd = Self { keys: vec![0; count], patience: vec![Duration::ZERO; count], ..Self::default() };
        for (shape, turns) in &groups {
            crowd.join(shape, turns, evidence, &sizes);
        }
        crowd
    }

    /// The groups as these settings call models and clients; or the name of a model that they do not have.
    pub(super) fn under(&self, settings: &Settings, universe: &Universe) -> Result<Vec<Spec>, String> {
        let under = |spec: &Spec| {
            let model = universe.model_in(settings, spec.model).map_err(str::to_owned)?;
            Ok(Spec { model, client: universe.client_in(settings, spec.client), ..spec.clone() })
        };
        self.specs.iter().map(under).collect()
    }

    fn join(&mut self, shape: &Shape, turns: &[usize], evidence: &Evidence, sizes: &[Option<(Tokens, Tokens)>]) {
        let group = self.specs.len() as u64;
        let all: Vec<&Turn> = turns.iter().map(|turn| &evidence.turns[*turn]).collect();
        let known: Vec<(Tokens, Tokens)> = turns.iter().filter_map(|turn| sizes[*turn]).collect();
        let estimate = estimate(turns, evidence, sizes);
        let retries = habit(&all);
        let (patience, shared) = patience(&all, shape.deadline, &retries);
        let trace = turns.iter().zip(0..).map(|(turn, index): (&usize, u64)| {
            let one = &evidence.turns[*turn];
            self.keys[*turn] = key(group, index);
            self.patience[*turn] = patience;
            // Who goes away when all do has no time of their own.
            let leaves = one.left().map(|at| at.since(one.at()));
            let leaves = leaves.filter(|after| shared.is_none_or(|shared| !is_near(*after, shared)));
            let guess = Tokens::new((f64::from(one.estimate.get()) / estimate + 0.5) as u32);
            let (input, output) = sizes[*turn].map_or((guess, None), |(input, output)| (input, Some(output)));
            TraceTurn { at: one.at(), input: Some(input), output, leaves }
        });
        let trace = trace.collect();
        self.specs.push(Spec {
            client: shape.client,
            endpoint: Endpoint::ALL[usize::from(shape.endpoint)],
            stream: shape.stream,
            priority: shape.priority,
            sizes: Sizes {
                input: Drawn::Fixed(1000.0),
                output: spread(known.iter().map(|(_, output)| f64::from(output.get()))),
                output_max: shape.output_max.map(Tokens::new),
                estimate,
            },
            deadline: shape.deadline,
            retries,
            ..Spec::simple(shape.model, Arrivals::Trace(trace), patience)
        });
    }
}

/// What the router was told of prompts, over what they turned out to be.
fn estimate(turns: &[usize], evidence: &Evidence, sizes: &[Option<(Tokens, Tokens)>]) -> f64 {
    let (told, true_input) = turns
        .iter()
        .filter_map(|turn| Some((evidence.turns[*turn].estimate, sizes[*turn]?.0)))
        .fold((0.0, 0.0), |(told, truth), (estimate, input)| {
            (told + f64::from(estimate.get()), truth + f64::from(input.get()))
        });
    let ratio = told / true_input;
    // Within a thousandth it is rounding.
    if !(ratio.is_finite() && ratio > 0.0) || (ratio - 1.0).abs() < 1e-3 { 1.0 } else { ratio.clamp(0.01, 100.0) }
}

/// The distribution of sizes: one value where there is but one, else a lognormal through mean and spread of the logarithm.
fn spread(values: impl Iterator<Item = f64>) -> Drawn {
    let logs: Vec<f64> = values.map(|value| libm::log(value.max(1.0))).collect();
    if logs.is_empty() {
        return Sizes::default().output;
    }
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let variance = logs.iter().map(|log| (log - mean) * (log - mean)).sum::<f64>() / logs.len() as f64;
    match variance.sqrt() {
        sigma if sigma < 1e-6 => Drawn::Fixed((libm::exp(mean) + 0.5).floor()),
        sigma => Drawn::LogNormal { median: libm::exp(mean), sigma },
    }
}

/// The habit that explains best what clients did after failed calls.
fn habit(turns: &[&Turn]) -> Retries {
    let wrong = |retries: &Retries| turns.iter().map(|turn| mistakes(turn, retries)).sum::<u64>();
    HABITS.into_iter().min_by_key(wrong).unwrap_or_default()
}

/// Failed calls of a turn after which its client did not do what this habit says.
fn mistakes(turn: &Turn, retries: &Retries) -> u64 {
    let mut behaviour = Behaviour::default();
    let mut wrong = 0;
    for (index, request) in turn.requests.iter().enumerate() {
        let Some((ended, End::Failed(_, failure))) = request.end else { return wrong };
        if request.cancelled.is_some() {
            return wrong;
        }
        let next = turn.requests.get(index + 1).map(|next| next.at.since(ended));
        // Half the jitter; the gaps of all habits are further apart than that.
        match (behaviour.failed(retries, failure, 1 << 63), next) {
            (Next::GiveUp, None) => {}
            (Next::Call { after }, Some(gap)) => wrong += u64::from(!is_like(gap, after)),
            // A user may have lost patience in between.
            (Next::Call { .. }, None) => wrong += 1,
            (Next::GiveUp, Some(_)) => wrong += 1,
        }
    }
    wrong
}

fn is_like(gap: Duration, expected: Duration) -> bool {
    let (gap, expected) = (gap.as_secs_f64(), expected.as_secs_f64());
    gap >= 0.6 * expected - 0.05 && gap <= 1.6 * expected + 0.25
}

/// How long turns are worth an answer, and whether that was seen: the age at which several users went away.
fn patience(turns: &[&Turn], deadline: Duration, retries: &Retries) -> (Duration, Option<Duration>) {
    let mut ages: Vec<Duration> = turns.iter().filter_map(|turn| Some(turn.left()?.since(turn.at()))).collect();
    ages.sort_unstable();
    let alike = |age: &Duration| {
        let near = |other: &Duration| other.saturating_sub(*age) < CLOCK;
        ages.partition_point(near) - ages.partition_point(|other| other < age)
    };
    if let Some((count, age)) = ages.iter().map(|age| (alike(age), *age)).max_by_key(|(count, _)| *count)
        && count >= 2
    {
        return (age, Some(age));
    }
    if *retries == Retries::default() {
        return (deadline, None);
    }
    let life = |turn: &&&Turn| {
        let last = turn.requests.last().and_then(|request| request.end).map_or(turn.at(), |(at, _)| at);
        last.since(turn.at())
    };
    let longest = turns.iter().filter(|turn| turn.answered().is_none()).map(|turn| life(&turn)).max();
    (longest.unwrap_or_default().max(deadline), None)
}

/// Whether two lengths are the same but for a clock's reading.
fn is_near(one: Duration, other: Duration) -> bool {
    one.saturating_sub(other).max(other.saturating_sub(one)) < CLOCK
}
