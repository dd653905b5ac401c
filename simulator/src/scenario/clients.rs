//! Who asks, when, and what they do about a failure.

use stormproof_router::config::{At, Period, Problem, Report, suggest};
use stormproof_router::core::{ClientId, Duration, Timestamp, Tokens};

use super::Files;
use super::file::{self, RetryWord, Spread, TurnsWord};
use super::names::Scene;
use crate::clients::{self, Arrivals, Rate, Retries, Sdk, Sizes, TraceTurn, parse_trace};
use crate::draws::Shape;

/// The most turns that one group may begin in a day; a typing error in a rate should not fill the memory.
const TURNS_MAX: f64 = 50e6;
const USERS_MAX: u32 = 1_000_000;
const THINK: Shape = Shape::Fixed(30.0);

/// One group of clients; `None` when it asks for what does not exist.
pub(super) fn client(
    scene: &Scene<'_>,
    written: &file::Client,
    files: &dyn Files,
    report: &mut Report,
) -> Option<clients::Spec> {
    let id = match &written.client {
        None => ClientId::new(0),
        Some(name) => scene.settings.client_named(name).unwrap_or_else(|| {
            let known = scene.config.clients.names();
            report.say(name.spot, format!("there is no client `{}`; {}", name.value, suggest(name, known)));
            ClientId::new(0)
        }),
    };
    let arrivals = arrivals(scene, written, files, report);
    let model = scene.model(&written.model, report)?;
    let settings = &scene.settings.clients[id.index()];
    if settings.models.as_ref().is_some_and(|models| !models.contains(&model)) {
        let message = format!(
            "`{}` may not ask for `{}`; the configuration's `clients` say so",
            settings.name, written.model.value
        );
        report.say(written.model.spot, message);
    }
    let positive = |period: Option<At<Period>>, usual: Duration, report: &mut Report| {
        let Some(period) = period else { return usual };
        if period.value.0 == Duration::ZERO {
            report.say(period.spot, "no time at all is never enough; write a duration such as `180s`");
        }
        period.value.0
    };
    let deadline = positive(written.deadline, scene.settings.models[model.index()].deadline, report);
    Some(clients::Spec {
        client: id,
        model,
        endpoint: written.endpoint.into(),
        stream: written.stream,
        priority: written.priority.map_or(settings.priority, Into::into),
        arrivals: arrivals?,
        sizes: sizes(&written.tokens, report),
        patience: positive(written.patience, deadline, report),
        deadline,
        retries: match written.retries {
            RetryWord::None => Retries::default(),
            RetryWord::Sdk => Retries { sdk: Some(Sdk::OPENAI), ladder: None },
            RetryWord::Aider => Retries::AIDER,
        },
    })
}

fn arrivals(scene: &Scene<'_>, written: &file::Client, files: &dyn Files, report: &mut Report) -> Option<Arrivals> {
    match (&written.turns, &written.users, &written.trace) {
        (Some(turns), None, None) => {
            let rates = rates(scene, turns, report);
            Some(match written.spread {
                Spread::Poisson => Arrivals::Poisson(rates),
                Spread::Even => Arrivals::Even(rates),
            })
        }
        (None, Some(users), None) => {
            if !(1..=USERS_MAX).contains(&users.value) {
                report.say(users.spot, format!("there are from 1 to {USERS_MAX} users"));
            }
            Some(Arrivals::Closed { users: users.value, think: written.think.map_or(THINK, |think| think.shape()) })
        }
        (None, None, Some(path)) => read_trace(path, files, report).map(Arrivals::Trace),
        (_, _, _) => {
            report
                .say(written.model.spot, "clients have one of `turns`, `users` and `trace`, which says when they ask");
            None
        }
    }
}

fn rates(scene: &Scene<'_>, turns: &At<TurnsWord>, report: &mut Report) -> Vec<Rate> {
    let rates: Vec<Rate> = match &turns.value {
        TurnsWord::Steady(rate) => vec![Rate { from: Timestamp::ZERO, per_s: rate.0 }],
        TurnsWord::Steps(steps) => {
            let resolve = |step: &file::RateFrom| Rate { from: scene.clock.at(&step.from, report), per_s: step.rate.0 };
            steps.iter().map(resolve).collect()
        }
    };
    if !rates.is_sorted_by(|before, after| before.from < after.from) {
        report.say(turns.spot, "the rates of `turns` follow each other in time; sort them by `from`");
    }
    let highest = rates.iter().fold(0.0, |highest: f64, rate| highest.max(rate.per_s));
    if highest <= 0.0 {
        report.say(turns.spot, "nobody ever asks; give at least one rate above zero");
    }
    if highest * scene.clock.duration.as_secs_f64() > TURNS_MAX {
        report.say(turns.spot, format!("that is more than {TURNS_MAX} turns; lower the rate or the duration"));
    }
    rates
}

fn read_trace(path: &At<String>, files: &dyn Files, report: &mut Report) -> Option<Vec<TraceTurn>> {
    let text = match files.read(path.as_str()) {
        Ok(text) => text,
        Err(error) => {
            report.say(path.spot, format!("the trace `{}` cannot be read: {error}", path.value));
            return None;
        }
    };
    match parse_trace(&text) {
        Ok(turns) if turns.is_empty() => {
            report.say(path.spot, format!("the trace `{}` holds no turn", path.value));
            None
        }
        Ok(turns) => Some(turns),
        Err(error) => {
            report.extend([Problem::new(&path.as_str().into(), None, error.to_string())]);
            None
        }
    }
}

fn sizes(written: &file::Tokens, report: &mut Report) -> Sizes {
    let usual = Sizes::default();
    if let Some(estimate) = written.estimate.filter(|estimate| !(estimate.value > 0.0 && estimate.value <= 100.0)) {
        report.say(estimate.spot, "an estimate is a multiple of the truth, above 0 and at most 100");
    }
    Sizes {
        input: written.input.map_or(usual.input, |input| input.shape()),
        output: written.output.map_or(usual.output, |output| output.shape()),
        output_max: written.output_max.map(|max| Tokens::new(max.0)),
        estimate: written.estimate.map_or(usual.estimate, |estimate| estimate.value),
    }
}
