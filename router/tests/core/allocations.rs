//! No allocation per decision: once queues and slabs have grown to the size of the load, deciding allocates nothing.

use std::sync::Arc;

use stormproof_router::core::{
    Arrived, AttemptId, ClientId, Duration, Ending, Endpoint, Facts, Finished, Input, ModelId, Output, Priority,
    RequestId, Route, Router, Timestamp, TokenEstimate, Tokens, TurnId, Usage, WallTime, draw, unit,
};

use super::plain;

/// As many attempts as can be in flight here.
const FLIGHTS: usize = 256;

/// Drives a router without allocating: attempts in flight stand in a fixed array.
struct Driver {
    router: Router,
    now: Timestamp,
    alarm: Timestamp,
    flights: [Option<(Timestamp, AttemptId, u16)>; FLIGHTS],
    requests: u64,
    attempts: u64,
    waited: u64,
    retried: u64,
    closed: u64,
}

impl Driver {
    fn new() -> Self {
        let conditions = plain::family('c');
        let mut settings = plain::settings(&conditions);
        // So tight that requests wait even in health.
        settings.tiers[0].limits.rpm = Some(3);
        settings.knobs.queue_patience = Duration::from_secs(60);
        let mut driver = Self {
            router: Router::new(),
            now: Timestamp::ZERO,
            alarm: Timestamp::MAX,
            flights: [None; FLIGHTS],
            requests: 0,
            attempts: 0,
            waited: 0,
            retried: 0,
            closed: 0,
        };
        driver.router.handle(Timestamp::ZERO, Input::Configured { settings: Arc::new(settings) });
        driver.router.handle(Timestamp::ZERO, Input::Clock { wall: WallTime::default() });
        driver
    }

    /// One more arrival, and everything that happens before it.
    fn arrive(&mut self) {
        self.requests += 1;
        let gap = -libm::log(1.0 - unit(draw(1, 1, 1, self.requests)));
        let next = self.now + Duration::from_secs_f64(gap);
        loop {
            let first =
                (0..FLIGHTS).filter(|slot| self.flights[*slot].is_some()).min_by_key(|slot| self.flights[*slot]);
            let ends = first.and_then(|slot| self.flights[slot]).map_or(Timestamp::MAX, |(at, ..)| at);
            if next <= ends && next <= self.alarm {
                break;
            }
            if self.alarm < ends {
                self.now = self.alarm;
                self.alarm = Timestamp::MAX;
                self.hand_in(Input::Woke);
            } else if let Some((at, attempt, status)) = first.and_then(|slot| self.flights[slot].take()) {
                self.now = at;
                let usage = Usage { input: Tokens::new(900), cached: Tokens::ZERO, output: Tokens::new(90) };
                let (ending, usage) = (Ending::Status(status), (status == 200).then_some(usage));
                self.hand_in(Input::Finished(Finished { attempt, ending, facts: Facts::default(), usage }));
            }
        }
        self.now = next;
        self.hand_in(Input::Arrived(Arrived {
            request: RequestId::new(self.requests),
            turn: TurnId::new(self.requests),
            client: ClientId::new(0),
            model: ModelId::new(0),
            endpoint: Endpoint::Generate,
            stream: false,
            tokens: TokenEstimate { input: Tokens::new(1000), output_max: None },
            priority: Priority::Normal,
            deadline: self.now + plain::DEADLINE,
        }));
    }

    fn hand_in(&mut self, input: Input) {
        self.router.handle(self.now, input);
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Dispatch(dispatch) => {
                    self.attempts += 1;
                    self.waited += u64::from(matches!(dispatch.why, stormproof_router::core::Why::Waited { .. }));
                    self.retried += u64::from(matches!(dispatch.why, stormproof_router::core::Why::Retry { .. }));
                    // A tenth fails, in bursts: every 200 attempts a small storm.
                    let storm = self.attempts % 200 < 20;
                    let (status, secs) = if storm { (503, 1) } else { (200, 10 + self.attempts % 17) };
                    let end = (self.now + Duration::from_secs(secs), dispatch.attempt, status);
                    let free = self.flights.iter_mut().find(|flight| flight.is_none()).expect("room for every attempt");
                    *free = Some(end);
                }
                Output::Close { .. } => self.closed += 1,
                Output::WakeAt(at) => self.alarm = at,
                Output::Relay { .. } | Output::Abandon { .. } => {}
            }
        }
    }
}

#[test]
fn deciding_allocates_nothing_once_the_load_is_known() {
    let mut driver = Driver::new();
    for _ in 0..20_000 {
        driver.arrive();
    }
    let before = (driver.attempts, driver.waited, driver.retried, driver.closed);
    let counted = allocation_counter::measure(|| {
        for _ in 0..5_000 {
            driver.arrive();
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    // What it was measured over: dispatches, waits, retries and outcomes.
    let (attempts, waited) = (driver.attempts - before.0, driver.waited - before.1);
    let (retried, closed) = (driver.retried - before.2, driver.closed - before.3);
    assert!(
        attempts > 5_000 && closed > 4_500 && waited > 500 && retried > 100,
        "{attempts} {closed} {waited} {retried}"
    );
}
