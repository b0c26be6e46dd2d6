//! An RGB image with text on it, from the bitmap fonts of embedded-graphics: no file of a font is needed.

use embedded_graphics::mono_font::iso_8859_1::{
    FONT_5X8, FONT_6X10, FONT_7X13, FONT_7X13_BOLD, FONT_9X15, FONT_9X15_BOLD, FONT_9X18_BOLD,
    FONT_10X20,
};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{
    DrawTarget, Drawable, OriginDimensions, Pixel, Point, RgbColor, Size,
};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};
use plotters_backend::FontTransform;
use plotters_backend::text_anchor::{HPos, Pos, VPos};

/// Letters of one width, those of Latin-1; others become `?`.
#[derive(Clone, Copy)]
pub(crate) struct Font(&'static MonoFont<'static>);

impl Font {
    /// The largest is 20 pixels high.
    pub(crate) const SMALL: Self = Self(&FONT_7X13);
    pub(crate) const BOLD: Self = Self(&FONT_9X18_BOLD);

    /// The one that looks like a proportional font of `size` pixels.
    pub(crate) fn of_size(size: f64, bold: bool) -> Self {
        Self(match (size, bold) {
            (size, _) if size < 9.0 => &FONT_5X8,
            (size, _) if size < 11.0 => &FONT_6X10,
            (size, false) if size < 14.5 => &FONT_7X13,
            (size, true) if size < 14.5 => &FONT_7X13_BOLD,
            (size, false) if size < 18.5 => &FONT_9X15,
            (size, true) if size < 16.5 => &FONT_9X15_BOLD,
            (_, true) => &FONT_9X18_BOLD,
            (_, false) => &FONT_10X20,
        })
    }

    /// The largest for text whose lines are `height` apart, if there is one.
    pub(crate) fn of_height(height: u32) -> Option<Self> {
        let fonts = [&FONT_7X13, &FONT_6X10, &FONT_5X8];
        let mut fonts = fonts.into_iter();
        fonts
            .find(|font| font.character_size.height < height)
            .map(Self)
    }

    /// The width of a letter.
    pub(crate) fn width(self) -> u32 {
        self.0.character_size.width
    }

    pub(crate) fn height(self) -> u32 {
        self.0.character_size.height
    }

    /// The width of `text`.
    pub(crate) fn measure(self, text: &str) -> u32 {
        let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        letters.saturating_mul(self.width())
    }
}

/// `text` on one line of at most `room` letters, the last ones dots where it is longer.
pub(crate) fn cut(text: &str, room: usize) -> String {
    let mut letters: Vec<char> = text
        .chars()
        .map(|symbol| if symbol.is_control() { ' ' } else { symbol })
        .collect();
    if letters.len() > room {
        letters.truncate(room.saturating_sub(3));
        letters.extend("...".chars().take(room));
    }
    letters.into_iter().collect()
}

/// `text` in lines of at most `room` letters, broken between words.
pub(crate) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, room)),
        }
    }
    lines
}

/// The image.
pub(crate) struct Canvas(pub RgbImage);

impl Canvas {
    pub(crate) fn new(width: u32, height: u32, ground: Rgb<u8>) -> Self {
        Self(RgbImage::from_pixel(width, height, ground))
    }

    /// One line of text; `anchor` says which of its points lies at `place`, about which it is turned.
    pub(crate) fn text(
        &mut self,
        text: &str,
        font: Font,
        colour: Rgb<u8>,
        place: (i32, i32),
        anchor: Pos,
        turn: FontTransform,
    ) {
        let text = cut(text, usize::MAX);
        let length = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let (width, height) = (length(font.measure(&text)), length(font.height()));
        let left = match anchor.h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let top = match anchor.v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let Rgb([red, green, blue]) = colour;
        let style = MonoTextStyle::new(font.0, Rgb888::new(red, green, blue));
        let start = Point::new(left, top);
        let mut turned = Turned {
            canvas: self,
            place,
            turn,
        };
        match Text::with_baseline(&text, start, style, Baseline::Top).draw(&mut turned) {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }

    /// Text upright, from `place` to the right and down.
    pub(crate) fn line(&mut self, text: &str, font: Font, colour: Rgb<u8>, place: (i32, i32)) {
        let anchor = Pos::new(HPos::Left, VPos::Top);
        self.text(text, font, colour, place, anchor, FontTransform::None);
    }

    /// A filled rectangle, without what lies outside the image.
    pub(crate) fn fill(&mut self, (left, top): (u32, u32), size: (u32, u32), colour: Rgb<u8>) {
        let right = left.saturating_add(size.0).min(self.0.width());
        let bottom = top.saturating_add(size.1).min(self.0.height());
        for y in top..bottom {
            for x in left..right {
                self.0.put_pixel(x, y, colour);
            }
        }
    }

    /// Lays `share` of a colour over a pixel, if that is one of the image.
    pub(crate) fn blend(&mut self, (x, y): (i32, i32), (r, g, b): (u8, u8, u8), share: f64) {
        let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let Some(pixel) = place.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y)) else {
            return;
        };
        for (below, over) in pixel.0.iter_mut().zip([r, g, b]) {
            let mixed = f64::from(*below) + (f64::from(over) - f64::from(*below)) * share;
            *below = mixed.round() as u8;
        }
    }
}

/// A canvas whose coordinates are turned about a place of it.
struct Turned<'a> {
    canvas: &'a mut Canvas,
    place: (i32, i32),
    turn: FontTransform,
}

impl OriginDimensions for Turned<'_> {
    fn size(&self) -> Size {
        Size::new(self.canvas.0.width(), self.canvas.0.height())
    }
}

impl DrawTarget for Turned<'_> {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(Point { x, y }, colour) in pixels {
            let (x, y) = self.turn.transform(x, y);
            let (x, y) = (
                self.place.0.saturating_add(x),
                self.place.1.saturating_add(y),
            );
            let colour = (colour.r(), colour.g(), colour.b());
            self.canvas.blend((x, y), colour, 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left, top, right and bottom of what is not white.
    fn extent(canvas: &Canvas) -> Option<(u32, u32, u32, u32)> {
        let inked = canvas.0.enumerate_pixels();
        inked
            .filter(|(.., pixel)| pixel.0 != [255; 3])
            .map(|(x, y, _)| (x, y, x, y))
            .reduce(|a, b| (a.0.min(b.0), a.1.min(b.1), a.2.max(b.2), a.3.max(b.3)))
    }

    fn drawn(anchor: Pos, turn: FontTransform) -> (u32, u32, u32, u32) {
        let mut canvas = Canvas::new(200, 200, Rgb([255; 3]));
        canvas.text("Hxxxxxx", Font::SMALL, INK, (100, 100), anchor, turn);
        extent(&canvas).unwrap()
    }

    const INK: Rgb<u8> = Rgb([0; 3]);

    #[test]
    fn text_lies_at_its_anchor_and_turns_about_it() {
        let (left, top, right, bottom) =
            drawn(Pos::new(HPos::Left, VPos::Top), FontTransform::None);
        assert!(left >= 100 && right < 100 + 7 * 7 && top >= 100 && bottom < 113);
        let (left, top, right, bottom) =
            drawn(Pos::new(HPos::Right, VPos::Bottom), FontTransform::None);
        assert!(left >= 100 - 7 * 7 && right < 100 && top >= 87 && bottom < 100);
        // Upwards: what was to the right is above.
        let (left, top, right, bottom) =
            drawn(Pos::new(HPos::Left, VPos::Center), FontTransform::Rotate270);
        assert!(bottom <= 100 && top > 100 - 7 * 7, "{top} {bottom}");
        assert!(left >= 93 && right <= 107, "{left} {right}");
        assert!(bottom - top > 3 * (right - left));
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let mut canvas = Canvas::new(20, 10, Rgb([255; 3]));
        let far = [(-500, 3), (i32::MAX, i32::MAX), (i32::MIN, i32::MIN)];
        for place in far {
            canvas.line("text", Font::BOLD, INK, place);
            canvas.blend(place, (0, 0, 0), 1.0);
        }
        canvas.fill((20, 3), (u32::MAX, 9), INK);
        assert_eq!(extent(&canvas), None);
        canvas.fill((18, 8), (u32::MAX, u32::MAX), INK);
        assert_eq!(extent(&canvas), Some((18, 8, 19, 9)));
        canvas.blend((0, 0), (255, 55, 0), 0.5);
        assert_eq!(canvas.0.get_pixel(0, 0), &Rgb([255, 155, 128]));
    }

    #[test]
    fn long_text_is_cut_or_wrapped() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
        assert_eq!(cut("abc\n", 2), "..");
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a tremendous word", 6), ["a", "tre...", "word"]);
        assert!(wrapped("", 5).is_empty());
        assert_eq!(Font::SMALL.measure("äöü"), 21);
    }
}
