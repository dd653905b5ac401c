//! The simulator's clients over sockets: the same turns at the same moments, and the same ladder of retries. They obey
//! `Retry-After` and no other hint, as simulated ones do.

use std::sync::Arc;

use serde_json::json;
use stormproof_router::core::{Duration, Timestamp};
use stormproof_simulator::clients::{Behaviour, Failure, Next, Spec, Turn, turns};
use stormproof_simulator::draws::Stream;
use stormproof_simulator::mock::{Wish, token};
use tokio::task::JoinSet;

use crate::http::{Answer, Ask, End};
use crate::stage::Stage;

/// What became of a turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) turn: Turn,
    /// When it was answered, if it was in time.
    pub(crate) answered: Option<Timestamp>,
    /// What each of its calls came to: a status, or 0 for a broken one.
    pub(crate) statuses: Vec<u16>,
    /// How late its first call left: the machine's fault.
    pub(crate) late: Duration,
}

impl Ended {
    /// From its intended arrival; a failed one counts with its whole patience.
    pub(crate) fn latency(&self, patience: Duration) -> Duration {
        self.answered.map_or(patience, |at| at.since(self.turn.at))
    }
}

/// Everybody asks, until all turns are over. In order of arrival.
pub(crate) async fn everybody(stage: &Arc<Stage>) -> Vec<Ended> {
    let day = &stage.case.day;
    let mut all = JoinSet::new();
    for turn in turns(&day.clients, stage.seed, Timestamp::ZERO + day.duration) {
        all.spawn(ask(Arc::clone(stage), turn));
    }
    let mut ended = all.join_all().await;
    ended.sort_by_key(|ended| ended.turn.at);
    ended
}

async fn ask(stage: Arc<Stage>, turn: Turn) -> Ended {
    let spec = stage.case.day.clients[turn.client()].clone();
    let until = turn.at + spec.patience;
    stage.until(turn.at).await;
    let mut ended = Ended { turn, answered: None, statuses: Vec::new(), late: stage.now().since(turn.at) };
    let mut behaviour = Behaviour::default();
    loop {
        let left = stage.real(until.since(stage.now()));
        let Ok(answer) = tokio::time::timeout(left, call(&stage, &turn, &spec)).await else { return ended };
        let now = stage.now();
        ended.statuses.push(answer.status);
        if is_good(&answer, spec.stream) {
            ended.answered = Some(now).filter(|now| *now <= until);
            return ended;
        }
        let bits = Stream::Client.draw(stage.seed, turn.key, ended.statuses.len() as u64);
        match behaviour.failed(&spec.retries, failure(&answer), bits) {
            Next::Call { after } if now + after < until => stage.until(now + after).await,
            Next::Call { .. } | Next::GiveUp => return ended,
        }
    }
}

/// One call, as large as the turn says.
async fn call(stage: &Stage, turn: &Turn, spec: &Spec) -> Answer {
    let settings = &stage.case.settings;
    let model = &settings.models[spec.model.index()].name;
    let wish = Wish { turn: Some(turn.key), input: Some(turn.input.get()), output: Some(turn.output.get()) };
    // Four bytes to a token, so that the proxy's estimate is the simulated router's.
    let prompt = format!("{wish} {}", "x".repeat(turn.input.get() as usize * 4));
    let body = json!({"model": model, "stream": spec.stream, "messages": [{"role": "user", "content": prompt}]});
    let ask = Ask::post("/v1/chat/completions", &body);
    let client = settings.clients.get(spec.client.index()).map(|client| token(&client.name));
    let ask = client.into_iter().fold(ask, |ask, token| ask.bearer(&token));
    ask.answer(stage.serving.address()).await
}

/// Whether it is a complete answer.
fn is_good(answer: &Answer, stream: bool) -> bool {
    let whole = answer.status == 200 && answer.end == End::Whole;
    whole && (!stream || answer.text().ends_with("data: [DONE]\n\n"))
}

fn failure(answer: &Answer) -> Failure {
    let retry_after = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    Failure { status: answer.status, retry_after, in_stream: answer.status == 200 }
}
