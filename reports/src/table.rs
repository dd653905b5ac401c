//! The table for a terminal.

use std::fmt::Write;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};
use stormproof_simulator::study::summary::{PassResult, Run, Summary};

use crate::picture::wrap_columns;
use crate::{headline, numbers};

/// What the table is printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Whether colours may be used.
    pub colour: bool,
    /// Its columns. Less than 100 is taken as 100, more than 120 as 120.
    pub columns: u16,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { colour: false, columns: 100 }
    }
}

impl Terminal {
    /// The columns that are used.
    pub(crate) fn width(self) -> usize {
        usize::from(self.columns.clamp(100, 120))
    }
}

/// The summary as text: the result in plain words, six numbers a router, what was assumed, and what passed.
pub fn table(summary: &Summary, terminal: Terminal) -> String {
    let columns = terminal.width();
    let said = headline(summary);
    let mut text = String::new();
    paragraph(&mut text, &said.title, "", columns);
    text.push('\n');
    for detail in &said.details {
        paragraph(&mut text, detail, "", columns);
    }
    text.push('\n');
    text.push_str(&six_numbers(&summary.runs, summary.seeds, terminal));
    text.push('\n');
    paragraph(&mut text, &numbers::source(&summary.scenario, summary.seeds), "", columns);
    assumptions(&mut text, &summary.assumed, columns);
    if !summary.pass.is_empty() {
        text.push_str("\nWhat the scenario says must hold:\n");
        text.push_str(&passed(&summary.pass, terminal));
    }
    text
}

/// The six numbers of every run, framed.
fn six_numbers(runs: &[Run], seeds: u32, terminal: Terminal) -> String {
    let mut table = framed(terminal);
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut header = vec![Cell::new("Router")];
    // Heads break in two, so that they are no wider than the numbers.
    header.extend(numbers::COLUMNS.iter().map(|column| right(&wrap_columns(column.head, 11).join("\n"))));
    table.set_header(header);
    let subject = numbers::subject(runs);
    for (index, run) in runs.iter().enumerate() {
        let mut router = Cell::new(plain(&run.policy));
        if Some(index) == subject {
            router = router.add_attribute(Attribute::Bold);
        }
        let mut row = vec![router];
        row.extend(
            numbers::cells(run, seeds)
                .iter()
                .map(|cell| right(&format!("{}\n{}", cell.value, cell.note.replace(" (", "\n(")))),
        );
        table.add_row(row);
    }
    keep_whole(&mut table, 0);
    lines(&table)
}

/// An empty table with rules between its rows.
pub(crate) fn framed(terminal: Terminal) -> Table {
    const RULE: LineStyle = LineStyle::none().fill('─');
    // As the preset of horizontal lines, but without a column of its own for every crossing: names need the room.
    let rules = TableStyle::new().header_separator(RULE.fill('═')).row_separator(RULE);
    let mut table = Table::new();
    table.load_style(rules);
    style(&mut table, terminal);
    table
}

/// Keeps the numbers right of column `name` in one piece; where room is scarce, names wrap.
pub(crate) fn keep_whole(table: &mut Table, name: usize) {
    for column in table.column_iter_mut().skip(name + 1) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// What was assumed, one item each.
pub(crate) fn assumptions(text: &mut String, assumed: &[String], columns: usize) {
    if assumed.is_empty() {
        return;
    }
    text.push_str("Assumed:\n");
    for assumption in assumed {
        paragraph(text, assumption, "  - ", columns);
    }
}

/// Writes a paragraph whose first line begins with `mark` and whose others are indented as far.
pub(crate) fn paragraph(text: &mut String, words: &str, mark: &str, columns: usize) {
    let indent = mark.chars().count();
    for (index, line) in wrap_columns(&plain(words), columns - indent).iter().enumerate() {
        let lead = if index == 0 { mark.to_owned() } else { " ".repeat(indent) };
        let _ = writeln!(text, "{lead}{line}");
    }
}

/// One line an expression: whether it holds, the expression, and what was measured.
fn passed(results: &[PassResult], terminal: Terminal) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    style(&mut table, terminal);
    for result in results {
        let word = if result.passed { Cell::new("pass").fg(Color::Green) } else { Cell::new("FAIL").fg(Color::Red) };
        let measured = if result.measured.is_empty() { String::new() } else { format!("measured {}", result.measured) };
        table.add_row([word, Cell::new(plain(&result.expression)), Cell::new(plain(&measured))]);
    }
    lines(&table)
}

fn style(table: &mut Table, terminal: Terminal) {
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal.columns.clamp(100, 120));
    if terminal.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
}

/// The table's lines, without spaces at their ends.
pub(crate) fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Text from a file that somebody else wrote must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
