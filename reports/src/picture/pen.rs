//! Drawing with plotters in our own words: text, bars, lines, and a chart with two axes.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, TRANSPARENT, TextStyle};

use super::axis::{LABEL_SIZE, Scale, Ticks};
use super::canvas::Canvas;
use super::palette::Ink;
use crate::Error;

const TICK: Words = Words { size: LABEL_SIZE, ink: Ink::Faint, bold: false, align: Align::Left };

/// Which end of a text stands at its place. Vertically its middle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// The text begins here.
    Left,
    /// Its middle is here.
    Center,
    /// It ends here.
    Right,
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// Font size in pixels.
    pub(crate) size: u32,
    /// Colour.
    pub(crate) ink: Ink,
    /// Heavier than the rest.
    pub(crate) bold: bool,
    /// Where it stands.
    pub(crate) align: Align,
}

/// A part of the picture that can be drawn on, in pixels from its upper left corner.
pub(crate) struct Pen<'a> {
    area: DrawingArea<Canvas<'a>, Shift>,
}

/// The outline of a chart: ranges, ticks, and the room around the plot for labels.
pub(crate) struct Frame<'t> {
    /// From and to, horizontally.
    pub(crate) x: (f64, f64),
    /// From and to, vertically.
    pub(crate) y: (f64, f64),
    /// Grid lines and labels of the horizontal axis.
    pub(crate) x_ticks: &'t Ticks,
    /// Grid lines and labels of the vertical axis.
    pub(crate) y_ticks: &'t Ticks,
    /// Pixels left, right and above.
    pub(crate) room: (u32, u32, u32),
    /// Pixels below for labels and title; 0 leaves both out.
    pub(crate) foot: u32,
}

/// A plot with two axes; places are values.
pub(crate) struct Chart<'a> {
    context: ChartContext<'a, Canvas<'a>, Cartesian2d<Scale, Scale>>,
}

impl<'a> Pen<'a> {
    pub(super) fn new(area: DrawingArea<Canvas<'a>, Shift>) -> Self {
        Self { area }
    }

    /// A part of this part.
    pub(crate) fn part(&self, left_top: (i32, i32), size: (u32, u32)) -> Self {
        Self { area: self.area.clone().shrink(left_top, size) }
    }

    /// Writes a line of text.
    pub(crate) fn text(&self, at: (i32, i32), words: Words, text: &str) -> Result<(), Error> {
        Ok(self.area.draw_text(text, &style(words), at)?)
    }

    /// Fills a rectangle.
    pub(crate) fn rectangle(&self, from: (i32, i32), to: (i32, i32), ink: Ink, alpha: f64) -> Result<(), Error> {
        Ok(self.area.draw(&Rectangle::new([from, to], ink.rgb().mix(alpha).filled()))?)
    }

    /// Fills a rectangle with a colour that is the same in the dark.
    pub(crate) fn tile(&self, from: (i32, i32), to: (i32, i32), rgb: [u8; 3]) -> Result<(), Error> {
        let [red, green, blue] = rgb;
        let color = plotters::style::RGBColor(red, green, blue);
        Ok(self.area.draw(&Rectangle::new([from, to], color.filled()))?)
    }

    /// Draws a line through these places.
    pub(crate) fn line(&self, points: Vec<(i32, i32)>, ink: Ink, width: u32) -> Result<(), Error> {
        Ok(self.area.draw(&PathElement::new(points, ink.rgb().stroke_width(width)))?)
    }

    /// Draws the axes of a chart that fills this part.
    pub(crate) fn chart(&self, frame: &Frame<'_>) -> Result<Chart<'a>, Error> {
        let (left, right, top) = frame.room;
        // The title of the vertical axis stands at the left edge of the label area: keep it off the picture's edge.
        let margin = if frame.y_ticks.title.is_empty() { 0 } else { 14.min(left) };
        let mut context = ChartBuilder::on(&self.area)
            .margin_top(top)
            .margin_left(margin)
            .margin_right(right)
            .set_label_area_size(plotters::chart::LabelAreaPosition::Left, left - margin)
            .set_label_area_size(plotters::chart::LabelAreaPosition::Bottom, frame.foot)
            .build_cartesian_2d(
                Scale { range: frame.x, ticks: frame.x_ticks.clone() },
                Scale { range: frame.y, ticks: frame.y_ticks.clone() },
            )?;
        let mut mesh = context.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(Ink::Rule.rgb())
            .axis_style(Ink::Rule.rgb())
            .label_style(style(TICK))
            .axis_desc_style(style(TICK))
            .set_all_tick_mark_size(3);
        if frame.foot > 0 {
            mesh.x_desc(frame.x_ticks.title.as_str());
        }
        if !frame.y_ticks.title.is_empty() {
            mesh.y_desc(frame.y_ticks.title.as_str());
        }
        mesh.draw()?;
        Ok(Chart { context })
    }
}

impl Chart<'_> {
    /// The pixel of a place, counted in the whole picture.
    pub(crate) fn pixel(&self, at: (f64, f64)) -> (i32, i32) {
        self.context.backend_coord(&at)
    }

    /// Fills a rectangle; nothing where it has no extent on one axis.
    pub(crate) fn bar(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, alpha: f64) -> Result<(), Error> {
        let bar = Rectangle::new([from, to], ink.rgb().mix(alpha).filled());
        self.context.draw_series([bar])?;
        Ok(())
    }

    /// Draws a line through these places.
    pub(crate) fn line(&mut self, points: Vec<(f64, f64)>, ink: Ink, width: u32) -> Result<(), Error> {
        self.context.draw_series([PathElement::new(points, ink.rgb().stroke_width(width))])?;
        Ok(())
    }

    /// Fills the area between these corners.
    pub(crate) fn area(&mut self, corners: Vec<(f64, f64)>, ink: Ink, alpha: f64) -> Result<(), Error> {
        self.context.draw_series([Polygon::new(corners, ink.rgb().mix(alpha))])?;
        Ok(())
    }

    /// Draws a disc.
    pub(crate) fn disc(&mut self, at: (f64, f64), radius: u32, ink: Ink) -> Result<(), Error> {
        self.context.draw_series([Circle::new(at, radius, ink.rgb().filled())])?;
        Ok(())
    }
}

fn style(words: Words) -> TextStyle<'static> {
    let position = match words.align {
        Align::Left => HPos::Left,
        Align::Center => HPos::Center,
        Align::Right => HPos::Right,
    };
    let weight = if words.bold { FontStyle::Bold } else { FontStyle::Normal };
    ("sans-serif", words.size, weight).into_font().color(&words.ink.rgb()).pos(Pos::new(position, VPos::Center))
}
