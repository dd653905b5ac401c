//! Whole reports of a realistic summary: what they say, that they are safe, and that they are always the same.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;

use stormproof_reports::{Terminal, html, json, junit, pictures, sweep, table, write_directory};
use stormproof_simulator::study::summary::{Summary, Sweep};
use stormproof_simulator::study::trace::Attempt;

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

/// The page without its style and its pictures: what it says, and how it is built.
#[test]
fn the_page_says_it_all_in_order() {
    let page = html(&fixture::incident()).unwrap();
    let bare = without(&without(&page, "<style>", "</style>"), "<svg", "</svg>");
    insta::assert_snapshot!(bare.replace("</tr>", "</tr>\n").replace("<h2>", "\n<h2>").replace("<p>", "\n<p>"));
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    for page in [html(&fixture::incident()).unwrap(), sweep_page(&fixture::two_axes())] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for wrong in ["http:", "https:", "<script", "@import", "url(", "src="] {
            assert!(!page.contains(wrong), "{wrong}");
        }
    }
}

#[test]
fn ids_are_unique_and_every_reference_has_one() {
    let page = html(&fixture::incident()).unwrap();
    let after = |mark: &'static str| page.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
    let ids: Vec<&str> = after(" id=\"").collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((ids.len(), unique.len()), (8, 8));
    assert!(after("aria-labelledby=\"").flat_map(str::split_whitespace).all(|id| unique.contains(id)));
}

#[test]
fn the_same_summary_gives_the_same_bytes() {
    let all = || {
        let summary = fixture::incident();
        let mut bytes = vec![html(&summary).unwrap(), json(&summary).unwrap(), junit(&summary).unwrap()];
        bytes.extend(pictures(&summary).unwrap().iter().map(|picture| picture.to_svg()));
        bytes
    };
    assert_eq!(all(), all());
}

#[test]
fn every_picture_is_xml_and_says_what_is_assumed() {
    let summary = fixture::incident();
    let mut all = pictures(&summary).unwrap();
    all.extend(sweep::pictures(&fixture::one_axis()).unwrap());
    all.extend(sweep::pictures(&fixture::two_axes()).unwrap());
    assert_eq!(all.len(), 7);
    for picture in all {
        let svg = picture.to_svg();
        well_formed(&svg);
        assert!(
            svg.contains(">Assumed: ") && svg.contains(">Simulated: scenario expected-rotation"),
            "{}",
            picture.name()
        );
        assert!(!picture.description().is_empty(), "{}", picture.name());
    }
}

/// Names come from files that somebody wrote: none may become markup, or steer a terminal.
#[test]
fn names_stay_names() {
    let mut summary = fixture::incident();
    let evil = "<b onload=\"x\">&\u{1b}[2J]]>";
    summary.scenario = evil.to_owned();
    summary.about = evil.to_owned();
    summary.assumed = vec![evil.to_owned()];
    summary.pass[0].expression = evil.to_owned();
    summary.pass[0].measured = evil.to_owned();
    summary.runs[0].policy = evil.to_owned();
    summary.runs[0].about = evil.to_owned();
    summary.trace.policies[0].policy = evil.to_owned();
    summary.trace.overloads[0].upstream = evil.to_owned();
    for lane in &mut summary.trace.policies[0].lanes {
        lane.tier = evil.to_owned();
        lane.key = evil.to_owned();
    }
    assert!(!table(&summary, Terminal::default()).contains('\u{1b}'));
    let page = html(&summary).unwrap();
    assert!(page.contains("&lt;b onload=&quot;x&quot;&gt;&amp;") && !page.contains("<b "));
    well_formed(&junit(&summary).unwrap());
    for picture in pictures(&summary).unwrap() {
        well_formed(&picture.to_svg());
    }
}

/// Ten thousand calls a router must not make a file that no browser opens.
#[test]
fn a_busy_day_stays_a_small_file() {
    let mut summary = fixture::incident();
    for lane in summary.trace.policies.iter_mut().flat_map(|policy| &mut policy.lanes) {
        let status = ["200", "503", "200", "429", "200", "500"];
        lane.attempts = (0..500u32)
            .map(|call| {
                let from_s = f64::from(call) * 18.0;
                let status = status[call as usize % status.len()].to_owned();
                Attempt { from_s, to_s: from_s + 20.0, status }
            })
            .collect();
    }
    let page = html(&summary).unwrap();
    assert!(page.len() < 1_200_000, "{} bytes", page.len());
}

/// What is missing is left out; nothing panics, divides by zero, or is drawn out of nothing.
#[test]
fn little_or_nothing_can_be_reported_too() {
    let empty = Summary::default();
    assert!(table(&empty, Terminal::default()).starts_with("No router was run."));
    assert!(pictures(&empty).unwrap().is_empty());
    assert!(html(&empty).unwrap().contains("There is nothing to draw."));

    let mut bare = fixture::incident();
    bare.seeds = 1;
    bare.start.clear();
    bare.trace = Default::default();
    bare.runs.truncate(1);
    bare.runs[0].latency_bins.clear();
    bare.runs[0].fallback_spend_usd = 0.0;
    bare.runs[0].fallback_spend_usd_ci95 = [0.0, 0.0];
    assert_eq!(pictures(&bare).unwrap().iter().map(|picture| picture.name()).collect::<Vec<_>>(), ["success-spend"]);
    let text = table(&bare, Terminal::default());
    assert!(text.contains("one seed") && !text.contains("NaN"), "{text}");

    let mut lone = fixture::one_axis();
    lone.points.truncate(1);
    lone.axes[0].values.truncate(1);
    assert_eq!(sweep::pictures(&lone).unwrap().len(), 1);
    assert!(sweep::pictures(&Sweep::default()).unwrap().is_empty());
    assert!(sweep::csv(&Sweep::default()).unwrap().starts_with("policy,seeds,turns,"));
}

#[test]
fn csv_has_a_line_a_point_and_router() {
    let csv = sweep::csv(&fixture::two_axes()).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 7 * 8 * 2);
    assert!(
        lines[0].starts_with("litellm.num_retries,litellm.cooldown_time,policy,seeds,turns,succeeded,success_rate,")
    );
    assert!(lines[1].starts_with("0,0.5s,litellm-1.66,30,360,"), "{}", lines[1]);
    let fields = |line: &str| line.split(',').count();
    assert!(lines.iter().all(|line| fields(line) == fields(lines[0])));
}

#[test]
fn colour_is_used_only_where_asked_for() {
    let terminal = Terminal { colour: true, ..Terminal::default() };
    assert!(table(&fixture::incident(), terminal).contains("\u{1b}["));
    let wide = table(&fixture::incident(), Terminal { columns: 500, ..Terminal::default() });
    assert!(wide.lines().all(|line| line.chars().count() <= 120));
}

fn sweep_page(sweep: &Sweep) -> String {
    let directory = tempfile::tempdir().unwrap();
    let written = sweep::write_directory(sweep, directory.path()).unwrap();
    std::fs::read_to_string(&written[0]).unwrap()
}

/// `text` without everything from each `from` to the next `to`.
fn without(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |kept, part| kept + part.split_once(to).map_or("", |(_, rest)| rest))
}

fn well_formed(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return,
            Ok(quick_xml::events::Event::Start(start) | quick_xml::events::Event::Empty(start)) => {
                for attribute in start.attributes() {
                    attribute.unwrap();
                }
            }
            Ok(_other_event) => {}
            Err(error) => panic!("at byte {}: {error}\n{xml}", reader.error_position()),
        }
    }
}
