//! A picture: SVG that can be read alone. Every one has a title, a sentence on how to read it, a legend, axes with
//! units, and, at its foot, what was assumed.

mod axis;
mod canvas;
mod palette;
mod pen;
mod text;

pub(crate) use axis::{Ticks, round_up};
pub(crate) use canvas::escape;
pub(crate) use palette::{Ink, style_sheet};
pub(crate) use pen::{Align, Chart, Frame, Pen, Words};
pub(crate) use text::{width as text_width, wrap_columns};

use plotters::prelude::IntoDrawingArea;

use self::canvas::Canvas;
use crate::Error;

/// How wide every picture is.
pub(crate) const WIDTH: u32 = 960;

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const TITLE: Words = Words { size: 17, ink: Ink::Text, bold: true, align: Align::Left };
const LEAD: Words = Words { size: 13, ink: Ink::Faint, bold: false, align: Align::Left };
const LEGEND: Words = Words { size: 12, ink: Ink::Text, bold: false, align: Align::Left };
const FOOT: Words = Words { size: 11, ink: Ink::Faint, bold: false, align: Align::Left };
const MARGIN: i32 = 16;

/// One finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    name: &'static str,
    title: String,
    description: String,
    height: u32,
    body: String,
}

/// A sample beside its meaning in a legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    /// A filled area.
    Area(Ink),
    /// A short mark, as a call in a lane.
    Mark(Ink),
}

/// Everything around the plot itself.
pub(crate) struct Sheet<'a> {
    /// The file's name without its extension.
    pub(crate) name: &'static str,
    /// What is shown.
    pub(crate) title: String,
    /// How to read it.
    pub(crate) lead: String,
    /// What the colours mean.
    pub(crate) legend: Vec<(Sample, &'static str)>,
    /// What was assumed.
    pub(crate) assumed: &'a [String],
    /// Where the numbers come from: scenario and seeds.
    pub(crate) source: String,
    /// The picture in words, for those who cannot see it.
    pub(crate) description: String,
}

impl Picture {
    /// The name of its file, without the extension.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it shows, for those who cannot see it.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// A file of its own.
    pub fn to_svg(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            self.element(&format!("<style>\n{}</style>\n", style_sheet()))
        )
    }

    /// An element for a page that has [`style_sheet`] already.
    pub(crate) fn to_inline(&self) -> String {
        self.element("")
    }

    fn element(&self, style: &str) -> String {
        let Self { name, height, body, .. } = self;
        let (title, description) = (escape(&self.title), escape(&self.description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"{FONT}\" role=\"img\" \
             aria-labelledby=\"{name}-title {name}-description\">\n\
             <title id=\"{name}-title\">{title}</title>\n<desc id=\"{name}-description\">{description}</desc>\n\
             {style}{body}</svg>\n"
        )
    }
}

impl Sheet<'_> {
    /// The picture whose plot, `plot_height` pixels high, is drawn by `plot`.
    pub(crate) fn draw(
        self,
        plot_height: u32,
        plot: impl FnOnce(&Pen<'_>) -> Result<(), Error>,
    ) -> Result<Picture, Error> {
        let inner = f64::from(WIDTH) - 2.0 * f64::from(MARGIN);
        let lines = |words: Words, text: &str| text::wrap(text, inner, |part| text::width(part, f64::from(words.size)));
        let titles = lines(TITLE, &self.title);
        let leads = lines(LEAD, &self.lead);
        let mut feet = vec![self.source.clone()];
        if !self.assumed.is_empty() {
            feet.extend(lines(FOOT, &format!("Assumed: {}.", self.assumed.join("; "))));
        }
        let legend_top = MARGIN + 24 * titles.len() as i32 + 18 * leads.len() as i32 + 6;
        let legend_rows = self.legend_places(inner);
        let plot_top = legend_top + legend_rows.last().map_or(0, |(_, row)| 20 * (row + 1) + 6);
        let feet_top = plot_top + plot_height as i32 + 14;
        let height = (feet_top + 15 * feet.len() as i32 + MARGIN - 4) as u32;

        let mut body = String::new();
        {
            let pen = Pen::new(Canvas::new((WIDTH, height), &mut body).into_drawing_area());
            pen.rectangle((0, 0), (WIDTH as i32, height as i32), Ink::Paper, 1.0)?;
            for (row, line) in titles.iter().enumerate() {
                pen.text((MARGIN, MARGIN + 24 * row as i32 + 8), TITLE, line)?;
            }
            for (row, line) in leads.iter().enumerate() {
                pen.text((MARGIN, MARGIN + 24 * titles.len() as i32 + 18 * row as i32 + 8), LEAD, line)?;
            }
            for ((sample, meaning), (left, row)) in self.legend.iter().zip(&legend_rows) {
                let middle = legend_top + 20 * row + 10;
                match sample {
                    Sample::Area(ink) => pen.rectangle((*left, middle - 6), (left + 14, middle + 6), *ink, 1.0)?,
                    Sample::Mark(ink) => pen.rectangle((left + 4, middle - 6), (left + 7, middle + 6), *ink, 1.0)?,
                }
                pen.text((left + 20, middle), LEGEND, meaning)?;
            }
            plot(&pen.part((0, plot_top), (WIDTH, plot_height)))?;
            for (row, line) in feet.iter().enumerate() {
                pen.text((MARGIN, feet_top + 15 * row as i32 + 8), FOOT, line)?;
            }
        }
        Ok(Picture { name: self.name, title: self.title, description: self.description, height, body })
    }

    /// For each entry of the legend its left edge and its row.
    fn legend_places(&self, inner: f64) -> Vec<(i32, i32)> {
        let (mut left, mut row) = (MARGIN, 0);
        self.legend
            .iter()
            .map(|(_, meaning)| {
                let needed = 20 + text::width(meaning, f64::from(LEGEND.size)) as i32;
                if left > MARGIN && left + needed > inner as i32 + MARGIN {
                    (left, row) = (MARGIN, row + 1);
                }
                let place = (left, row);
                left += needed + 22;
                place
            })
            .collect()
    }
}
