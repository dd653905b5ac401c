//! Whole reports of a realistic summary: what they say, that they are safe, and that they are always the same.

mod fixture;

use std::path::Path;

use stormproof_reports::{Terminal, sweep, table, write_directory};
use stormproof_simulator::study::summary::Summary;

#[test]
fn the_table_says_it_all_in_a_hundred_columns() {
    let text = table(&fixture::incident(), Terminal::default());
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
}

#[test]
fn a_sweep_s_table_fits_too() {
    let one = sweep::table(&fixture::one_axis(), Terminal::default());
    let two = sweep::table(&fixture::two_axes(), Terminal::default());
    assert!(one.lines().chain(two.lines()).all(|line| line.chars().count() <= 100), "{one}{two}");
    insta::assert_snapshot!("one_axis", one);
    insta::assert_snapshot!("two_axes", two);
}

#[test]
fn a_directory_holds_the_whole_report() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("incident");
    let written = write_directory(&fixture::incident(), &directory).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "report.html",
            "summary.json",
            "trace.json",
            "storm-strip.svg",
            "success-spend.svg",
            "key-lanes.svg",
            "latency.svg"
        ]
    );
    let read = std::fs::read_to_string(directory.join("summary.json")).unwrap();
    let back: Summary = serde_json::from_str(&read).unwrap();
    assert_eq!(table(&back, Terminal::default()), table(&fixture::incident(), Terminal::default()));
}

#[test]
fn a_sweep_s_directory_holds_the_whole_report() {
    for (name, sweep) in [("one-axis", fixture::one_axis()), ("two-axes", fixture::two_axes())] {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let written = sweep::write_directory(&sweep, &directory).unwrap();
        assert!(written[0].ends_with("report.html") && written.len() >= 4, "{written:?}");
    }
}
