//! The colours of every picture and page, light and dark.
//!
//! The data colours are those of Okabe and Ito ("Color Universal Design", 2008), which stay apart for the common kinds
//! of colour blindness; the dark ones are the same hues, lightened until they stand out from the dark paper.

use std::fmt::Write;

use plotters::style::RGBColor;

/// A colour by what it is for. Its light value is written into every element, so that any viewer shows it; a class
/// beside it lets a style sheet put the dark value in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// The background.
    Paper,
    /// Words and axes.
    Text,
    /// Words that explain.
    Faint,
    /// Grid lines.
    Rule,
    /// An area of time that is set apart: an overload.
    Shade,
    /// A quiet area of data.
    Pale,
    /// Data.
    Blue,
    /// Data.
    Orange,
    /// Data.
    Grey,
    /// Data that should alarm.
    Red,
    /// Data.
    Green,
    /// Data.
    Purple,
    /// Data.
    Sky,
    /// Words on a light tile, whatever the paper.
    OnLight,
    /// Words on a dark tile, whatever the paper.
    OnDark,
}

/// What an [`Ink`] looks like.
struct Shades {
    ink: Ink,
    name: &'static str,
    light: u32,
    dark: u32,
}

const PALETTE: [Shades; 15] = [
    Shades { ink: Ink::Paper, name: "paper", light: 0xff_ffff, dark: 0x16_1a1e },
    Shades { ink: Ink::Text, name: "text", light: 0x1c_2127, dark: 0xe8_eaed },
    Shades { ink: Ink::Faint, name: "faint", light: 0x59_636e, dark: 0x9d_a7b1 },
    Shades { ink: Ink::Rule, name: "rule", light: 0xdd_e1e6, dark: 0x33_3a42 },
    Shades { ink: Ink::Shade, name: "shade", light: 0xf6_ead2, dark: 0x3a_3222 },
    Shades { ink: Ink::Pale, name: "pale", light: 0xcd_d3d9, dark: 0x46_4f58 },
    Shades { ink: Ink::Blue, name: "blue", light: 0x00_72b2, dark: 0x4d_a9e0 },
    Shades { ink: Ink::Orange, name: "orange", light: 0xe6_9f00, dark: 0xf0_b43c },
    Shades { ink: Ink::Grey, name: "grey", light: 0x7b_858f, dark: 0x8a_949e },
    Shades { ink: Ink::Red, name: "red", light: 0xd5_5e00, dark: 0xff_7a33 },
    Shades { ink: Ink::Green, name: "green", light: 0x00_9e73, dark: 0x2c_c79a },
    Shades { ink: Ink::Purple, name: "purple", light: 0xb8_5c93, dark: 0xdb_8fbd },
    Shades { ink: Ink::Sky, name: "sky", light: 0x56_b4e9, dark: 0x8f_d0f5 },
    Shades { ink: Ink::OnLight, name: "on-light", light: 0x14_181c, dark: 0x14_181c },
    Shades { ink: Ink::OnDark, name: "on-dark", light: 0xfd_fdfd, dark: 0xfd_fdfd },
];

impl Ink {
    /// The light value, as plotters wants it.
    pub(crate) fn rgb(self) -> RGBColor {
        let [_, red, green, blue] =
            PALETTE.iter().find(|shades| shades.ink == self).map_or(0, |shades| shades.light).to_be_bytes();
        RGBColor(red, green, blue)
    }

    /// The name of its class and of its variable in the style sheet.
    pub(crate) fn name(self) -> &'static str {
        PALETTE.iter().find(|shades| shades.ink == self).map_or("", |shades| shades.name)
    }

    /// The class name of the colour with this light value, if it is one of ours.
    pub(crate) fn name_of((red, green, blue): (u8, u8, u8)) -> Option<&'static str> {
        let light = u32::from_be_bytes([0, red, green, blue]);
        PALETTE.iter().find(|shades| shades.light == light).map(|shades| shades.name)
    }

    /// The colour of the `index`-th router. The first is the one that the report is about.
    pub(crate) fn series(index: usize) -> Self {
        const SERIES: [Ink; 8] =
            [Ink::Blue, Ink::Red, Ink::Green, Ink::Purple, Ink::Orange, Ink::Sky, Ink::Grey, Ink::Text];
        SERIES[index % SERIES.len()]
    }
}

/// The style sheet that every picture and page shares. Paper is always printed light.
pub(crate) fn style_sheet() -> String {
    let mut css = String::from(":root{color-scheme:light dark;");
    for shades in &PALETTE {
        let _ = write!(css, "--{}:#{:06x};", shades.name, shades.light);
    }
    css.push_str("}\n@media screen and (prefers-color-scheme:dark){:root{");
    for shades in &PALETTE {
        let _ = write!(css, "--{}:#{:06x};", shades.name, shades.dark);
    }
    css.push_str("}}\n");
    for Shades { name, .. } in &PALETTE {
        let _ = writeln!(css, ".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}");
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_is_found_by_its_light_value() {
        for shades in &PALETTE {
            let RGBColor(red, green, blue) = shades.ink.rgb();
            assert_eq!(Ink::name_of((red, green, blue)), Some(shades.name));
        }
        assert_eq!(Ink::name_of((1, 2, 3)), None);
    }

    /// Contrast as WCAG 2 defines it: 4.5 for words, 3 for marks that carry data, on their paper.
    #[test]
    fn words_and_marks_stand_out_from_both_papers() {
        let luminance = |colour: u32| {
            let [_, red, green, blue] = colour.to_be_bytes().map(|channel| {
                let share = f64::from(channel) / 255.0;
                if share <= 0.03928 { share / 12.92 } else { libm::pow((share + 0.055) / 1.055, 2.4) }
            });
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let contrast = |one: u32, other: u32| {
            let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
            if one > other { one / other } else { other / one }
        };
        let paper = &PALETTE[0];
        for shades in &PALETTE[1..] {
            let wanted = match shades.ink {
                Ink::Text | Ink::Faint => 4.5,
                Ink::Paper | Ink::Rule | Ink::Shade | Ink::Pale | Ink::OnLight | Ink::OnDark => continue,
                // Used for areas and thick bars only.
                Ink::Orange | Ink::Sky => 2.0,
                Ink::Blue | Ink::Grey | Ink::Red | Ink::Green | Ink::Purple => 3.0,
            };
            assert!(contrast(shades.light, paper.light) >= wanted, "{} on light", shades.name);
            assert!(contrast(shades.dark, paper.dark) >= wanted, "{} on dark", shades.name);
        }
    }
}
