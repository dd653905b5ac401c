//! One self-contained page: no scripts, nothing loaded from elsewhere, light and dark, and good on paper.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use stormproof_simulator::study::summary::{PassResult, Run, Summary, Sweep};

use crate::picture::{Ink, Picture, style_sheet};
use crate::{Error, chart, format, headline, numbers, sweep};

/// Words of the report that a newcomer may not know.
const GLOSSARY: [(&str, &str); 8] = [
    ("Turn", "One thing a user or program wants answered, through all its own repeated calls."),
    ("Patience", "How long a turn waits before it gives up. An answer after that counts as none."),
    ("Router", "What stands between the clients and the providers and decides which key is used when."),
    ("Tier", "Keys with the same model, limits and price. Tiers after the first are the fallback, and usually dearer."),
    ("Overload", "A time in which a provider's model answers many calls with 503, whichever key asks."),
    ("Cooldown", "A time in which a router will not use a key, because of an error it saw: the key is benched."),
    ("Seed", "One drawing of the day's luck: who asks when, and which call fails. All routers face the same seeds."),
    (
        "95% interval",
        "Were the study repeated with other seeds, the mean would lie in such an interval 95 times of 100.",
    ),
];

/// The whole report of a summary as one HTML page.
///
/// # Errors
/// When a picture cannot be drawn.
pub fn html(summary: &Summary) -> Result<String, Error> {
    Ok(html_with(summary, &chart::pictures(summary)?))
}

/// The page with these pictures.
pub(crate) fn html_with(summary: &Summary, pictures: &[Picture]) -> String {
    let said = headline(summary);
    page(
        &said.title,
        html! {
            p.kind { "What would have happened? A simulated day: " strong { (summary.scenario) } }
            h1 { (said.title) }
            @for detail in &said.details { p { (detail) } }
            @if !summary.about.is_empty() { p.faint { "The question: " (summary.about) } }
            h2 { "Six numbers for each router" }
            (six_numbers(&summary.runs, summary.seeds))
            (assumed(&summary.assumed))
            @if !summary.pass.is_empty() { (must_hold(&summary.pass)) }
            h2 { "Pictures" }
            (figures(pictures))
            h2 { "Calls in detail" }
            (details(&summary.runs))
            (glossary())
            (footer(&numbers::source(&summary.scenario, summary.seeds)))
        },
    )
}

/// The page of a sweep with these pictures.
pub(crate) fn sweep_html(sweep: &Sweep, pictures: &[Picture]) -> String {
    let knobs = sweep.axes.iter().map(|axis| axis.knob.as_str()).collect::<Vec<_>>().join(" and ");
    let title = format!("What {knobs} would change");
    page(
        &title,
        html! {
            p.kind { "What would have happened? A simulated day: " strong { (sweep.scenario) } }
            h1 { (title) }
            @for finding in sweep::findings(sweep) { p { (finding) } }
            @if !sweep.about.is_empty() { p.faint { "The question: " (sweep.about) } }
            h2 { "Pictures" }
            (figures(pictures))
            (assumed(&sweep.assumed))
            h2 { "Every point" }
            (points(sweep))
            (glossary())
            (footer(&numbers::source(&sweep.scenario, sweep.seeds)))
        },
    )
}

// What is wide scrolls on a narrow screen; it can be focused, so that it does with the keyboard too.

fn page(title: &str, body: Markup) -> String {
    // Nothing may be fetched: the policy makes that a promise that the browser keeps.
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
    let style = format!("{}{}", style_sheet(), include_str!("page.css"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Stormproof" }
                link rel="icon" href="data:,";
                style { (PreEscaped(style)) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

fn six_numbers(runs: &[Run], seeds: u32) -> Markup {
    let inks = numbers::inks(runs);
    html! {
        div.wide tabindex="0" role="region" aria-label="Six numbers for each router" { table {
            caption {
                @if seeds == 1 { "One seed." } @else { "Means over " (seeds) " seeds." }
                " What each number means stands at the end."
            }
            thead { tr {
                th scope="col" { "Router" }
                @for column in &numbers::COLUMNS { th scope="col" { (column.head) } }
            } }
            tbody { @for (run, ink) in runs.iter().zip(inks) { tr {
                th scope="row" { (dot(ink)) (run.policy) @if !run.about.is_empty() { small { (run.about) } } }
                @for cell in numbers::cells(run, seeds) {
                    td { (cell.value) @if !cell.note.is_empty() { small { (cell.note) } } }
                }
            } } }
        } }
    }
}

/// A dot in the router's colour; only decoration, for its name stands beside it.
fn dot(ink: Ink) -> Markup {
    html! { span.dot aria-hidden="true" style={ "background:var(--" (ink.name()) ")" } {} }
}

fn assumed(assumed: &[String]) -> Markup {
    html! {
        h2 { "What is assumed" }
        @if assumed.is_empty() {
            p { "Nothing beyond what the scenario states." }
        } @else {
            p { "These facts are not known; the result holds as far as they do." }
            ul { @for assumption in assumed { li { (assumption) } } }
        }
    }
}

fn must_hold(results: &[PassResult]) -> Markup {
    html! {
        h2 { "What must hold" }
        div.wide tabindex="0" role="region" aria-label="What must hold" { table {
            thead { tr { th scope="col" { "Result" } th.word scope="col" { "Expression" } th scope="col" { "Measured" } } }
            tbody { @for result in results { tr {
                td.word { @if result.passed { span.pass { "holds" } } @else { span.fail { "does not hold" } } }
                td.word { code { (result.expression) } }
                td { (result.measured) }
            } } }
        } }
    }
}

fn figures(pictures: &[Picture]) -> Markup {
    html! {
        @for picture in pictures {
            figure.wide tabindex="0" aria-label=(picture.title()) { (PreEscaped(picture.to_inline())) }
        }
        @if pictures.is_empty() { p { "There is nothing to draw." } }
    }
}

fn details(runs: &[Run]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Calls in detail" { table {
            thead { tr {
                th scope="col" { "Router" }
                th scope="col" { "Turns" }
                th scope="col" { "Client calls" }
                th scope="col" { "What clients saw" }
                th scope="col" { "Upstream calls" }
                th scope="col" { "What providers answered" }
                th scope="col" { "Turns without answer" }
                th scope="col" { "Money in all" }
            } }
            tbody { @for run in runs { tr {
                th scope="row" { (run.policy) small { "decisions " code { (run.decision_hash) } } }
                td { (format::count(run.turns)) }
                td { (format::count(run.client_calls)) }
                td { (counts(&run.client_statuses)) }
                td { (format::count(run.upstream_attempts)) }
                td { (counts(&run.upstream_statuses)) }
                td { (counts(&run.failures)) }
                td { (format::usd(run.total_spend_usd)) }
            } } }
        } }
    }
}

/// One line each: `503: 118.5`.
fn counts(counts: &BTreeMap<String, f64>) -> Markup {
    let any = counts.values().any(|count| *count > 0.0);
    html! {
        @for (name, count) in counts.iter().filter(|(_, count)| **count > 0.0) {
            div { (name) ": " (format::count(*count)) }
        }
        @if !any { "none" }
    }
}

fn points(sweep: &Sweep) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Every point" { table {
            thead { tr {
                @for axis in &sweep.axes { th scope="col" { (axis.knob) } }
                th scope="col" { "Router" }
                @for column in &numbers::COLUMNS { th scope="col" { (column.head) } }
            } }
            tbody { @for point in &sweep.points { @for run in &point.runs { tr {
                @for text in sweep::texts(sweep, point) { td.word { (text) } }
                th scope="row" { (run.policy) }
                @for cell in numbers::cells(run, sweep.seeds) {
                    td { (cell.value) @if !cell.note.is_empty() { small { (cell.note) } } }
                }
            } } } }
        } }
    }
}

fn glossary() -> Markup {
    let words = GLOSSARY.iter().copied().chain(numbers::COLUMNS.iter().map(|column| (column.head, column.means)));
    html! {
        h2 { "Words" }
        dl { @for (word, meaning) in words { div { dt { (word) } dd { (meaning) } } } }
    }
}

fn footer(source: &str) -> Markup {
    html! { footer { p { (source) " Made by Stormproof. The same scenario and seeds give this page again, byte for byte." } } }
}
