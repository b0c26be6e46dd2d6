//! The sign, with letters from a bitmap font.

use embedded_graphics::mock_display::MockDisplay;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X13_BOLD;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Drawable, Point};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use super::tools::*;

/// A board on a post, with two lines of text.
pub struct Sign {
    letters: MockDisplay<BinaryColor>,
}

impl Sign {
    const LEFT: f32 = 282.0;
    const TOP: f32 = 330.0;

    pub fn new() -> Self {
        let mut letters = MockDisplay::new();
        letters.set_allow_overdraw(true);
        letters.set_allow_out_of_bounds_drawing(true);
        let style = TextStyleBuilder::new()
            .alignment(Alignment::Center)
            .baseline(Baseline::Top)
            .build();
        for (text, y) in [("im2col", 2), ("Y = W X", 15)] {
            let font = MonoTextStyle::new(&FONT_6X13_BOLD, BinaryColor::On);
            let drawn =
                Text::with_text_style(text, Point::new(24, y), font, style).draw(&mut letters);
            drawn.expect("a mock display takes every pixel");
        }
        Self { letters }
    }

    pub fn paint(&self, x: f32, y: f32, colour: &mut Colour) {
        let (u, v) = (x - Self::LEFT, y - Self::TOP);
        if (36.0..41.0).contains(&u) && (40.0..86.0).contains(&v) {
            *colour = shade(hex(0x7a5a3c), 1.1 - 0.08 * (u - 36.0));
        }
        // An arrow to the right: the board ends in a point.
        let inside = |margin: f32| {
            v > margin
                && v < 46.0 - margin
                && u > margin
                && u < 88.0 - 1.3 * margin - (v - 23.0).abs() * 0.55
        };
        if inside(0.0) {
            *colour = hex(0x5c4027);
        }
        if inside(2.4) {
            let grain = noise(u / 24.0, v / 2.2);
            *colour = shade(hex(0xe2bd84), 0.9 + 0.16 * grain);
        }
        // Letters 1.45 times their size.
        let letter = Point::new(
            ((u - 4.0) / 1.45).floor() as i32,
            ((v - 1.5) / 1.45).floor() as i32,
        );
        let drawn = letter.x >= 0 && letter.y >= 0 && letter.x < 64 && letter.y < 64;
        if drawn && inside(2.4) && self.letters.get_pixel(letter) == Some(BinaryColor::On) {
            *colour = hex(0x3a2717);
        }
    }
}
