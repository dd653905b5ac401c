//! The drawing backend of plotters that our pictures use.
//!
//! It writes SVG with the exact font sizes asked for and measures text by its characters. Every element has both the
//! colour that plotters asked for and a class for it, so that a style sheet can make it dark. Rectangles of one colour
//! that follow each other become one path: a day with ten thousand calls stays a small file.

use std::convert::Infallible;
use std::fmt::Write;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
    FontTransform,
};

use super::palette::Ink;
use super::text;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// Writes SVG elements to a string.
pub(crate) struct Canvas<'a> {
    size: (u32, u32),
    body: &'a mut String,
    /// The attributes of the path that rectangles are being added to; empty when none is open.
    open: String,
}

impl<'a> Canvas<'a> {
    /// An empty canvas of that many pixels; elements go to `body`.
    pub(crate) fn new(size: (u32, u32), body: &'a mut String) -> Self {
        Self { size, body, open: String::new() }
    }

    /// Ends the path of rectangles, if one is open.
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.body.push_str("\"/>\n");
            self.open.clear();
        }
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        self.close();
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }
}

impl Drop for Canvas<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        self.close();
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn {
        let color = style.color();
        if color.alpha == 0.0 {
            return Ok(());
        }
        let (left, top) = (from.0.min(to.0), from.1.min(to.1));
        let (width, height) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        if !fill {
            let corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)];
            return self.draw_path(corners.into_iter().chain([(left, top)]), style);
        }
        let attributes = paint("fill", color);
        if self.open != attributes {
            self.close();
            let _ = write!(self.body, "<path {attributes} d=\"");
            self.open = attributes;
        }
        let _ = write!(self.body, "M{left} {top}h{width}v{height}h-{width}z");
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        if style.color().alpha > 0.0 {
            let paint = paint("stroke", style.color());
            let width = style.stroke_width();
            let points = points(path);
            self.element(format_args!(
                "<path fill=\"none\" {paint} stroke-width=\"{width}\" stroke-linejoin=\"round\" d=\"{points}\"/>"
            ));
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        if style.color().alpha > 0.0 {
            let (x, y) = center;
            let paint = if fill {
                paint("fill", style.color())
            } else {
                format!("fill=\"none\" stroke-width=\"{}\" {}", style.stroke_width(), paint("stroke", style.color()))
            };
            self.element(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {paint}/>"));
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, corners: I, style: &S) -> Drawn {
        if style.color().alpha > 0.0 {
            let paint = paint("fill", style.color());
            let points = points(corners);
            self.element(format_args!("<path {paint} d=\"{points}z\"/>"));
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let size = style.size();
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // From the anchor to the baseline; capitals of the usual faces are 0.72 of the font's size high.
        let drop = match style.anchor().v_pos {
            VPos::Top => 0.80,
            VPos::Center => 0.35,
            VPos::Bottom => -0.22,
        };
        let turn = match style.transform() {
            FontTransform::None => String::new(),
            FontTransform::Rotate90 => format!(" transform=\"rotate(90 {x} {y})\""),
            FontTransform::Rotate180 => format!(" transform=\"rotate(180 {x} {y})\""),
            FontTransform::Rotate270 => format!(" transform=\"rotate(270 {x} {y})\""),
        };
        let weight = match style.style() {
            FontStyle::Bold => " font-weight=\"600\"",
            FontStyle::Normal | FontStyle::Oblique | FontStyle::Italic => "",
        };
        let paint = paint("fill", style.color());
        let dy = drop * size;
        let escaped = escape(text);
        self.element(format_args!(
            "<text x=\"{x}\" y=\"{y}\" dy=\"{dy:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\"{weight}{turn} \
             {paint}>{escaped}</text>"
        ));
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = style.size();
        Ok((text::width(text, size) as u32 + 1, size as u32 + 1))
    }
}

/// The attributes that give a fill or a stroke its colour.
fn paint(property: &str, color: BackendColor) -> String {
    let (red, green, blue) = color.rgb;
    let mut attributes = format!("{property}=\"#{red:02x}{green:02x}{blue:02x}\"");
    if let Some(name) = Ink::name_of(color.rgb) {
        let prefix = &property[..1];
        let _ = write!(attributes, " class=\"{prefix}-{name}\"");
    }
    if color.alpha < 1.0 {
        let _ = write!(attributes, " {property}-opacity=\"{}\"", color.alpha);
    }
    attributes
}

/// The path data through these points.
fn points(path: impl IntoIterator<Item = BackendCoord>) -> String {
    let mut data = String::new();
    for (x, y) in path {
        let _ = write!(data, "{}{x} {y}", if data.is_empty() { "M" } else { "L" });
    }
    data
}

/// Text as it may stand in SVG, in an element or a quoted attribute; control characters, which XML has no place for,
/// become a space.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use plotters::prelude::*;

    use super::*;

    #[test]
    fn rectangles_of_one_colour_are_one_path() {
        let mut body = String::new();
        {
            let area = Canvas::new((100, 100), &mut body).into_drawing_area();
            for x in 0..3 {
                area.draw(&Rectangle::new([(x * 10, 0), (x * 10 + 5, 8)], Ink::Blue.rgb().filled())).unwrap();
            }
            area.draw(&Rectangle::new([(50, 0), (60, 8)], Ink::Red.rgb().filled())).unwrap();
        }
        let expected = "<path fill=\"#0072b2\" class=\"f-blue\" d=\"M0 0h5v8h-5zM10 0h5v8h-5zM20 0h5v8h-5z\"/>\n\
                        <path fill=\"#d55e00\" class=\"f-red\" d=\"M50 0h10v8h-10z\"/>\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn text_is_escaped_and_keeps_its_size() {
        let mut body = String::new();
        {
            let area = Canvas::new((100, 100), &mut body).into_drawing_area();
            let style = ("sans-serif", 13).into_font().color(&Ink::Text.rgb());
            area.draw_text("<a> & \"b\"\u{7}", &style, (4, 5)).unwrap();
        }
        assert!(body.contains("font-size=\"13\""), "{body}");
        assert!(body.contains(">&lt;a&gt; &amp; &quot;b&quot; </text>"), "{body}");
    }
}
