//! Logs that are not as they should be, and one that grows.

use std::fs;
use std::path::Path;

use stormproof_router::core::{DeploymentId, Dispatch, Duration, Input, Output, RequestId, Route, Router, Timestamp};
use stormproof_router::log::{Event, Opening, Options, Reader, Recording, What, Writer};

/// Flips a bit of a byte.
pub(crate) fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(file, bytes).expect("written");
}

/// Makes a segment one of format 9, with a right checksum.
pub(crate) fn make_newer(file: &Path) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[8] = 9;
    let length = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..20 + length]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(file, bytes).expect("written");
}

/// The same log of a run of ours, but for the place of its fifth attempt: as another router might have decided.
pub(crate) fn change_a_dispatch(from: &Path, to: &Path) {
    let mut reader = Reader::open(from).expect("a log");
    let header = reader.header().clone();
    let (router, settings) = (Router::new(), header.settings);
    let opening = Opening { policy: router.policy(), seed: header.seed, epoch: header.epoch, settings };
    let mut recording = Recording::create(to, opening, Options::simulation(), &router).expect("a folder");
    let mut dispatched = 0;
    let mut end = Timestamp::ZERO;
    while let Some(Event { at, what, .. }) = reader.read().expect("readable") {
        end = at;
        match what {
            What::Input(input) => recording.record(at, &input),
            What::Output(Output::Dispatch(dispatch)) => {
                dispatched += 1;
                let other = DeploymentId::new(u32::from(dispatch.deployment.get() == 0));
                let deployment = if dispatched == 5 { other } else { dispatch.deployment };
                recording.decided(&Output::Dispatch(Dispatch { deployment, ..dispatch }));
            }
            What::Output(output) => recording.decided(&output),
            What::Opened(_) | What::Boot(_) | What::Closed | What::Checkpoint(_) | What::Gap(_) => {}
        }
    }
    recording.finish(end).expect("written");
    assert!(dispatched > 5);
}

/// A log that somebody has begun to write.
pub(crate) fn begin(log: &Path) -> Writer {
    let router = Router::new();
    let opening = Opening { policy: router.policy(), seed: 0, epoch: Default::default(), settings: Default::default() };
    let (mut writer, _) = Writer::open(log, opening, Options::live()).expect("a log");
    writer.begin(Timestamp::ZERO, Default::default(), &router, true);
    writer.commit().expect("written");
    writer
}

/// One more event.
pub(crate) fn cancel(writer: &mut Writer, request: u64) {
    let now = writer.last() + Duration::from_secs(1);
    writer.record(now, &Input::Cancelled { request: RequestId::new(request) });
    writer.commit().expect("written");
}
