//! Logs that were written once and must be read for ever.
//!
//! `tests/golden/log` holds logs of format 1: one in which every record stands at least once, in small frames and in one
//! batch; one of several segments, the first compressed and the last torn; and a damaged one. Should a test here fail,
//! then it is the build that is wrong and not the files. `BLESS=1 cargo test -p stormproof-router --test log golden`
//! writes them anew: only for a format that nobody has recorded anything in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use stormproof_router::core::{
    Action, Arrived, AtRisk, AttemptId, Cause, ClientId, DeploymentId, Dispatch, Duration, Ending, Endpoint, Facts,
    Finished, Foreign, Input, KeyId, ModelId, Outcome, Output, Priority, ProjectId, ProviderId, Reason, RequestId,
    Scope, Spill, TierCause, TierId, Timeouts, Timestamp, TokenEstimate, Tokens, Transport, TurnId, UpstreamId, Usage,
    Usd, Verdict, Violation, Violations, WallTime, Why,
};
use stormproof_router::log::{
    Boot, BootId, Damage, Event, Export, Filter, InFlight, Kind, Opening, Options, Place, ReadError, Reader, Stats,
    Subject, Subjects, What, Writer, rebuild, verify,
};

use crate::toy::{Toy, opening, settings};
use crate::{read, record, segments, small};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/log").join(name)
}

fn second(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn arrived(request: u64, endpoint: Endpoint, priority: Priority, stream: bool) -> Input {
    Input::Arrived(Arrived {
        request: RequestId::new(request),
        turn: TurnId::new(request / 2),
        client: ClientId::new(0),
        model: ModelId::new(0),
        endpoint,
        stream,
        tokens: TokenEstimate { input: Tokens::new(8_000), output_max: stream.then_some(Tokens::new(1_000)) },
        priority,
        deadline: second(180 + request),
    })
}

fn dispatch(request: u64, attempt: u64, timeouts: Timeouts, why: Why) -> Output {
    let (request, attempt) = (RequestId::new(request), AttemptId::new(attempt));
    Output::Dispatch(Dispatch { request, attempt, deployment: DeploymentId::new(2), timeouts, why })
}

fn finished(attempt: u64, ending: Ending, facts: Facts, usage: Option<Usage>) -> Input {
    Input::Finished(Finished { attempt: AttemptId::new(attempt), ending, facts, usage })
}

fn close(request: u64, verdict: Verdict) -> Output {
    Output::Close { request: RequestId::new(request), verdict }
}

/// Every kind of record, and of every choice inside records each value.
fn steps() -> Vec<(Input, Vec<Output>)> {
    let usual = Timeouts::default();
    let cut = Duration::from_nanos(2_000_000_001);
    let slot = |slot: u64, count: u64| count << 32 | slot;
    let usage = Usage { input: Tokens::new(8_010), cached: Tokens::new(4_096), output: Tokens::new(777) };
    let plain = Facts::default();
    let mut later = settings();
    later.seed = 8;
    later.retries.auth = Some(2);
    let mut steps = vec![
        (Input::Configured { settings: Arc::new(settings()) }, vec![]),
        (Input::Clock { wall: opening().epoch }, vec![]),
        (
            arrived(1, Endpoint::Generate, Priority::Normal, false),
            vec![
                dispatch(1, slot(0, 1), Timeouts { total: Duration::from_secs(180), ..usual }, Why::First),
                Output::WakeAt(second(30)),
            ],
        ),
        (Input::FirstByte { attempt: AttemptId::new(slot(0, 1)) }, vec![]),
        (
            finished(slot(0, 1), Ending::Status(200), plain, Some(usage)),
            vec![close(
                1,
                Verdict { attempts: 1, spend: Usd::from_micros(125), ..Verdict::new(Outcome::Answered, 200) },
            )],
        ),
        (
            arrived(2, Endpoint::Embed, Priority::High, true),
            vec![dispatch(2, slot(0, 2), usual, Why::Waited { waited: Duration::from_millis(12_300) })],
        ),
        (arrived(3, Endpoint::Count, Priority::Low, true), vec![Output::WakeAt(Timestamp::MAX)]),
        (
            Input::FirstByte { attempt: AttemptId::new(slot(0, 2)) },
            vec![Output::Relay { request: RequestId::new(2), attempt: AttemptId::new(slot(0, 2)) }],
        ),
        (
            finished(slot(0, 2), Ending::Transport(Transport::Cut), plain, Some(usage)),
            vec![close(2, Verdict { attempts: 1, ..Verdict::new(Outcome::Cut, 200) })],
        ),
        (
            finished(slot(5, 1), Ending::Status(503), plain, None),
            vec![
                dispatch(3, slot(5, 2), Timeouts { first_byte: cut, total: cut, ..usual }, Why::Retry { before: 1 }),
                dispatch(
                    3,
                    slot(6, 1),
                    Timeouts { connect: cut, ..Timeouts { idle: Duration::MAX, ..usual } },
                    Why::Spill { cause: Spill::Starved, failure_ppm: 620_000, quota_ppm: 10 },
                ),
                dispatch(3, slot(7, 1), usual, Why::Probe { failure_ppm: 900_000 }),
                dispatch(3, slot(8, 1), usual, Why::Panic { usable_ppm: 190_476 }),
                Output::Abandon { attempt: AttemptId::new(slot(7, 1)) },
                Output::WakeAt(second(11)),
            ],
        ),
        (Input::Woke, vec![]),
        (Input::Woke, vec![]),
        (Input::Cancelled { request: RequestId::new(3) }, vec![close(3, Verdict::new(Outcome::Cancelled, 0))]),
        (Input::Configured { settings: Arc::new(later) }, vec![]),
    ];
    let facts = Facts {
        inner_status: Some(429),
        violations: Violations {
            requests_minute: Violation::Limit(5),
            requests_day: Violation::Unvalued,
            tokens_minute: Violation::None,
            tokens_day: Violation::Limit(0),
        },
        retry_after: Some(Duration::from_millis(18_250)),
        reason: None,
    };
    let mut attempt = 100;
    let mut end = |ending, facts| {
        attempt += 1;
        steps.push((finished(attempt, ending, facts, None), vec![]));
    };
    end(Ending::Status(429), facts);
    for transport in [
        Transport::Connect,
        Transport::Reset,
        Transport::ReusedConnection,
        Transport::FirstByteTimeout,
        Transport::IdleTimeout,
        Transport::TotalTimeout,
        Transport::ErrorEvent,
        Transport::Malformed,
        Transport::Abandoned,
    ] {
        end(Ending::Transport(transport), plain);
    }
    for reason in [
        Reason::Overloaded,
        Reason::KeyInvalid,
        Reason::KeySuspended,
        Reason::KeyLeaked,
        Reason::NoFreeTier,
        Reason::ClosedToNewUsers,
        Reason::ServiceDisabled,
        Reason::OutOfFunds,
        Reason::ModelNotFound,
        Reason::LocationUnsupported,
        Reason::AddressThrottled,
        Reason::ContextWindow,
        Reason::ContentBlocked,
        Reason::Credential,
    ] {
        end(Ending::Status(400), Facts { reason: Some(reason), ..plain });
    }
    let (tier, client, key) = (TierId::new(1), ClientId::new(0), KeyId::new(3));
    let (project, upstream, until) = (ProjectId::new(2), UpstreamId::new(1), second(90));
    for action in [
        Action::ClearCooldown { scope: Scope::Key(key) },
        Action::ClearCooldown { scope: Scope::ProjectModel(project, upstream) },
        Action::ClearCooldown { scope: Scope::Upstream(upstream) },
        Action::ClearCooldown { scope: Scope::Provider(ProviderId::new(0)) },
        Action::DrainKey { key, until },
        Action::RetireKey { key },
        Action::RestoreKey { key },
        Action::SetUsed { project, upstream, requests: 17 },
        Action::SkipTier { tier, until: Timestamp::MAX },
        Action::PinTier { tier, until },
        Action::FreeTier { tier },
        Action::StopPaid { until: Timestamp::ZERO },
        Action::SetBudget { tier, budget: Usd::from_micros(50_000_000) },
        Action::SetClientBudget { client, budget: Usd::MAX },
        Action::ForgetLimits { project, upstream },
        Action::PowerLost { at_risk: AtRisk::from_ppm(50_000), since: until },
    ] {
        steps.push((Input::Operator { action, author: "operator".into() }, vec![]));
    }
    let causes = [
        Cause::None,
        Cause::RateMinute,
        Cause::TokensMinute,
        Cause::RateDay,
        Cause::RateUnknown,
        Cause::Overload,
        Cause::Server,
        Cause::Auth,
        Cause::Dead,
        Cause::NotFound,
        Cause::Request,
        Cause::StreamCut,
        Cause::Budget,
        Cause::ClientRate,
        Cause::ClientBudget,
        Cause::ClientModel,
        Cause::RetryBudget,
        Cause::Attempts,
        Cause::Operator,
        Cause::ContextWindow,
        Cause::ContentBlocked,
        Cause::Address,
        Cause::Deadline,
    ];
    let refused = |outcome, causes: &[Cause]| Verdict {
        retry_after: Some(Duration::from_secs(2_000)),
        causes: (causes.iter().zip(0..))
            .map(|(cause, usable)| {
                let until = (usable % 2 == 0).then_some(second(120));
                TierCause { tier: TierId::new(0), usable, total: 21, cause: *cause, until }
            })
            .collect(),
        ..Verdict::new(outcome, 503)
    };
    let foreign = Some(Foreign { error_in_stream: true, text_bytes: 123_456 });
    steps.push((
        Input::Woke,
        vec![
            close(4, refused(Outcome::Refused, &causes)),
            close(5, refused(Outcome::Deadline, &causes[..1])),
            close(6, Verdict { foreign, ..Verdict::new(Outcome::Failed, 429) }),
        ],
    ));
    let spills = [Spill::Exhausted, Spill::Patience, Spill::Degraded, Spill::Operator, Spill::Unsuited];
    let spilled = spills.into_iter().zip(200..).map(|(cause, attempt)| {
        dispatch(7, attempt, usual, Why::Spill { cause, failure_ppm: 0, quota_ppm: 1_000_000 })
    });
    steps.push((Input::Woke, spilled.collect()));
    steps
}

/// Writes the golden logs into a folder.
fn write_golden_logs(folder: &Path) {
    let write = |name: &str, options: Options| {
        let log = folder.join(name);
        let settings = Arc::new(settings());
        let opening = Opening { policy: "golden/1", seed: 42, settings, ..opening() };
        let (mut writer, _) = Writer::open(&log, opening, options).unwrap();
        writer.begin(Timestamp::ZERO, WallTime::from_nanos(1_745_000_000_000_000_000), &Toy::default(), true);
        let mut at = Timestamp::ZERO;
        for (number, (input, outputs)) in steps().into_iter().enumerate() {
            // The first wake-up comes when it was asked for.
            at += Duration::from_nanos(1_000_000_000 + u64::from(number > 15));
            writer.record(at, &input);
            outputs.iter().for_each(|output| writer.decided(output));
            writer.commit().unwrap();
            if number == 20 {
                let in_flight =
                    InFlight { requests: vec![RequestId::new(7)], attempts: vec![AttemptId::new(5 << 32 | 1)] };
                writer.checkpoint(at, &Toy::default(), in_flight).unwrap();
            }
        }
        writer.close(at + Duration::from_secs(1)).unwrap();
    };
    let boot = Boot { id: Some(BootId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)), at_risk: AtRisk::from_ppm(50_000) };
    let options = Options { batch: 0, checkpoint: u64::MAX, boot: Some(boot), ..Options::simulation() };
    write("frames", options);
    write("batch", Options { batch: 1 << 20, ..options });
}

/// Writes the logs with several segments: torn, and damaged.
fn write_broken_logs(folder: &Path) {
    let (torn, damaged) = (folder.join("torn"), folder.join("damaged"));
    let options = Options { segment: 3 << 10, ..small() };
    record(&torn, Options { compress: Some(3), ..options }, 24);
    let last = segments(&torn).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() - 5]).unwrap();
    record(&damaged, options, 24);
    let second = damaged.join("00000002.log");
    let mut bytes = fs::read(&second).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&second, bytes).unwrap();
    for folder in [torn, damaged] {
        fs::remove_file(folder.join("lock")).unwrap();
    }
}

/// Whether the golden files are to be written anew. Every test does so at most once, before it reads.
fn bless() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("BLESS").is_none() {
            return;
        }
        let folder = golden("");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        write_golden_logs(&folder);
        for name in ["frames", "batch"] {
            fs::remove_file(folder.join(name).join("lock")).unwrap();
        }
        write_broken_logs(&folder);
        fs::write(folder.join("frames.jsonl"), lines(&folder.join("frames"))).unwrap();
    });
}

fn lines(log: &Path) -> String {
    let mut reader = Reader::open(log).unwrap();
    let export = Export::new(reader.header().epoch);
    let mut subjects = Subjects::new(reader.settings().clone());
    let mut text = String::new();
    while let Some(event) = reader.read().unwrap() {
        let subject = subjects.follow(&event);
        text.push_str(&export.line(&event, subject, subjects.settings()));
        text.push('\n');
    }
    text
}

#[test]
fn golden_logs_are_read_as_ever() {
    bless();
    let (frames, torn) = read(&golden("frames")).unwrap();
    assert_eq!(torn, None);
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Gap).collect();
    assert!(kinds.iter().all(|kind| frames.iter().any(|event| event.kind() == *kind)));
    let inputs: Vec<Input> = frames
        .iter()
        .filter_map(|event| if let What::Input(input) = &event.what { Some(input.clone()) } else { None })
        .collect();
    assert_eq!(inputs, steps().into_iter().map(|(input, _)| input).collect::<Vec<_>>());
    // In a batch the checkpoint lies behind the same events; a segment alone is a log, too.
    assert_eq!(read(&golden("batch/00000001.log")).unwrap().0, frames);
}

#[test]
fn a_golden_log_with_a_compressed_and_a_torn_segment_is_read_up_to_there() {
    bless();
    let log = golden("torn");
    let files = segments(&log);
    assert!(files.len() > 2 && files[0].ends_with("00000001.log.zst"), "{files:?}");
    let (events, torn) = read(&log).unwrap();
    let torn = torn.unwrap();
    let last = files.last().unwrap();
    assert!(last.ends_with(&torn.segment));
    assert_eq!(torn.offset + torn.bytes, fs::metadata(last).unwrap().len());
    let report = verify::<Toy>(&log).unwrap();
    assert_eq!((report.events, report.missing, report.unverified), (events.len() as u64, 0, 0));
    assert!(report.decisions > 40 && report.checkpoints > 1, "{report:?}");
    assert!(rebuild::<Toy>(&log).unwrap().is_some());
}

#[test]
fn a_golden_log_that_is_damaged_says_where() {
    bless();
    let error = read(&golden("damaged")).unwrap_err();
    let ReadError::Damaged(Damage { segment, offset, .. }) = &error else { panic!("{error}") };
    assert_eq!(segment, "00000002.log");
    assert_eq!(
        error.to_string(),
        format!(
            "00000002.log is damaged at offset {offset}: a broken frame with sound ones after it; everything before it \
             can be read: restore the file from a copy, or move it and the segments after it elsewhere"
        )
    );
    let mut reader = Reader::open(&golden("damaged")).unwrap();
    let before = std::iter::from_fn(|| reader.read().ok().flatten()).count();
    assert!(before > 30, "what is before the damage can be read: {before} events");
}

#[test]
fn golden_logs_are_printed_as_ever() {
    bless();
    let expected = fs::read_to_string(golden("frames.jsonl")).unwrap();
    for (expected, line) in expected.lines().zip(lines(&golden("frames")).lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines(&golden("frames")).lines().count(), expected.lines().count());
}

#[test]
fn this_build_writes_the_golden_bytes() {
    bless();
    let folder = tempfile::tempdir().unwrap();
    write_golden_logs(folder.path());
    for name in ["frames/00000001.log", "batch/00000001.log"] {
        let (written, golden) = (fs::read(folder.path().join(name)).unwrap(), fs::read(golden(name)).unwrap());
        assert!(written == golden, "{name} is written otherwise: a record has changed instead of being appended");
    }
}

#[test]
fn every_line_is_a_document_with_names() {
    bless();
    for line in lines(&golden("frames")).lines() {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in ["sequence", "time", "at", "kind"] {
            assert!(document.get(field).is_some(), "{field} is missing in {line}");
        }
        if document["kind"] == "dispatch" {
            assert_eq!((&document["key"], &document["tier"]), (&"free-02".into(), &"free".into()));
        }
    }
}

#[test]
fn filters_keep_what_an_event_is_about() {
    bless();
    let log = golden("frames");
    let shown = |filter: Filter| -> Vec<Event> {
        let mut reader = Reader::open(&log).unwrap();
        let mut subjects = Subjects::new(reader.settings().clone());
        let mut shown = Vec::new();
        while let Some(event) = reader.read().unwrap() {
            let subject: Subject = subjects.follow(&event);
            if filter.takes(&event, subject, subjects.settings()) {
                shown.push(event);
            }
        }
        shown
    };
    let kinds = |filter| shown(filter).iter().map(Event::kind).collect::<Vec<_>>();
    let second = Filter { request: Some(RequestId::new(2)), ..Filter::default() };
    let whole = [Kind::Arrived, Kind::Dispatch, Kind::FirstByte, Kind::Relay, Kind::Finished, Kind::Close];
    assert_eq!(kinds(second.clone()), whole);
    assert_eq!(kinds(Filter { kinds: vec![Kind::Relay, Kind::Close], ..second.clone() }), [Kind::Relay, Kind::Close]);
    assert_eq!(kinds(Filter { key: Some("free-02".to_owned()), ..second.clone() }), whole[1..5]);
    assert_eq!(kinds(Filter { key: Some("free-03".to_owned()), ..second.clone() }), []);
    assert_eq!(kinds(Filter { model: Some("pro".to_owned()), ..second.clone() }), whole);
    let first_half = Filter { until: Some(Place::Time(self::second(7))), ..second.clone() };
    assert_eq!(kinds(first_half.clone()), whole[..2]);
    let (all, _) = read(&log).unwrap();
    let over = |event: &&Event| first_half.is_over(event);
    assert_eq!(all.iter().find(over).map(|event| event.at), Some(self::second(7)));
    let third = Filter { from: Some(Place::Sequence(3)), until: Some(Place::Sequence(4)), ..Filter::default() };
    assert_eq!(shown(third).iter().map(|event| event.sequence).collect::<Vec<_>>(), [3]);
    assert_eq!(kinds(Filter { from: Some(Place::Time(self::second(9))), ..second }), whole[4..]);
    assert_eq!(kinds(Filter { turn: Some(TurnId::new(1)), kinds: vec![Kind::Arrived], ..Filter::default() }).len(), 2);
    let unknown = "dispatched".parse::<Kind>().unwrap_err().to_string();
    assert!(
        unknown.starts_with("there is no kind of event called `dispatched`; there are configured, clock"),
        "{unknown}"
    );
}

#[test]
fn stats_count_what_is_there() {
    bless();
    let stats = Stats::of(&golden("frames")).unwrap();
    assert_eq!((stats.requests, stats.kinds[&Kind::Dispatch], stats.kinds[&Kind::Operator]), (3, 11, 16));
    assert_eq!((stats.attempts["200"], stats.attempts["400"], stats.attempts["IdleTimeout"]), (1, 14, 1));
    assert_eq!(stats.outcomes["answered"], 1);
    assert_eq!((stats.spend, stats.segments), (Usd::from_micros(125), 1));
    assert_eq!(stats.bytes, fs::metadata(golden("frames/00000001.log")).unwrap().len());
    assert_eq!(stats.span.unwrap().0, Timestamp::ZERO);
}
