//! plotters on a [`Canvas`]: lines and discs with smooth edges.
//!
//! ```text
//! a coordinate is the middle of a pixel                               d  distance of a pixel from the line
//! share of a line's colour = min(1, max(0, width/2 + 1/2 − d))        a line of several pieces is drawn once,
//! share of a disc's colour = min(1, max(0, radius + 1/2 − d))         so that its corners are not drawn twice
//! ```

use std::convert::Infallible;
use std::ops::RangeInclusive;

use image::Rgb;
use plotters_backend::text_anchor::Pos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle,
};

use super::canvas::{Canvas, Font};

/// A backend of plotters.
pub(crate) struct Raster<'a>(&'a mut Canvas);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl<'a> Raster<'a> {
    pub(super) fn new(canvas: &'a mut Canvas) -> Self {
        Self(canvas)
    }

    /// What of the image lies in these columns and rows.
    fn part(&self, across: (f64, f64), down: (f64, f64)) -> Part {
        // Casts of floats saturate, and the end of nothing lies before its start.
        let clipped = |(from, to): (f64, f64), size: u32| {
            from.floor().max(0.0) as i32..=to.ceil().min(f64::from(size) - 1.0) as i32
        };
        Part {
            columns: clipped(across, self.0.0.width()),
            rows: clipped(down, self.0.0.height()),
        }
    }

    fn blend(&mut self, place: (i32, i32), colour: BackendColor, share: f64) {
        self.0.blend(place, colour.rgb, share * colour.alpha);
    }
}

/// A rectangle of pixels.
struct Part {
    columns: RangeInclusive<i32>,
    rows: RangeInclusive<i32>,
}

impl Part {
    /// Row after row.
    fn places(&self) -> impl Iterator<Item = (i32, i32)> + use<> {
        let columns = self.columns.clone();
        let rows = self.rows.clone();
        rows.flat_map(move |y| columns.clone().map(move |x| (x, y)))
    }

    fn len(&self) -> usize {
        self.columns.clone().count() * self.rows.clone().count()
    }

    /// Where a pixel of it comes among [`places`](Self::places).
    fn index(&self, (x, y): (i32, i32)) -> usize {
        let width = self.columns.clone().count();
        (y - self.rows.start()) as usize * width + (x - self.columns.start()) as usize
    }
}

/// How far a point lies from the line between two others.
fn distance((x, y): (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (across, down) = (to.0 - from.0, to.1 - from.1);
    let squared = across * across + down * down;
    let along = match squared > 0.0 {
        true => (((x - from.0) * across + (y - from.1) * down) / squared).clamp(0.0, 1.0),
        false => 0.0,
    };
    (x - from.0 - along * across).hypot(y - from.1 - along * down)
}

fn middle((x, y): BackendCoord) -> (f64, f64) {
    (f64::from(x), f64::from(y))
}

impl DrawingBackend for Raster<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.0.dimensions()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, colour: BackendColor) -> Drawn {
        self.blend(point, colour, 1.0);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let points: Vec<(f64, f64)> = path.into_iter().map(middle).collect();
        let reach = f64::from(style.stroke_width()) / 2.0 + 0.5;
        let around = |points: &[(f64, f64)]| {
            let none = (f64::INFINITY, f64::NEG_INFINITY);
            let grown =
                |range: (f64, f64), at: f64| (range.0.min(at - reach), range.1.max(at + reach));
            let across = points
                .iter()
                .fold(none, |range, point| grown(range, point.0));
            let down = points
                .iter()
                .fold(none, |range, point| grown(range, point.1));
            self.part(across, down)
        };
        let part = around(&points);
        let mut shares = vec![0.0_f64; part.len()];
        for piece in points.windows(2) {
            for place in around(piece).places() {
                let share = reach - distance(middle(place), piece[0], piece[1]);
                let most = &mut shares[part.index(place)];
                *most = most.max(share.clamp(0.0, 1.0));
            }
        }
        for (place, share) in part.places().zip(shares) {
            self.blend(place, style.color(), share);
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        if !fill {
            let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
            return self.draw_path(corners.into_iter().chain([(left, top)]), style);
        }
        let across = (f64::from(left), f64::from(right));
        for place in self
            .part(across, (f64::from(top), f64::from(bottom)))
            .places()
        {
            self.blend(place, style.color(), 1.0);
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let ((x, y), radius) = (middle(centre), f64::from(radius));
        let stroke = f64::from(style.stroke_width()) / 2.0;
        let reach = radius + 0.5 + if fill { 0.0 } else { stroke };
        let part = self.part((x - reach, x + reach), (y - reach, y + reach));
        for place in part.places() {
            let (px, py) = middle(place);
            let away = (px - x).hypot(py - y);
            let share = match fill {
                true => radius + 0.5 - away,
                false => stroke + 0.5 - (away - radius).abs(),
            };
            self.blend(place, style.color(), share.clamp(0.0, 1.0));
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        place: BackendCoord,
    ) -> Drawn {
        let BackendColor { alpha, rgb } = style.color();
        if alpha == 0.0 {
            return Ok(());
        }
        // In SVG plotters writes this many pixels.
        let size = style.size() / 1.24;
        let font = Font::of_size(size, matches!(style.style(), FontStyle::Bold));
        let Pos { h_pos, v_pos } = style.anchor();
        let colour = Rgb([rgb.0, rgb.1, rgb.2]);
        let anchor = Pos::new(h_pos, v_pos);
        self.0
            .text(text, font, colour, place, anchor, style.transform());
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let bold = matches!(style.style(), FontStyle::Bold);
        let font = Font::of_size(style.size() / 1.24, bold);
        Ok((font.measure(text), font.height()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    const RED: BackendColor = BackendColor {
        alpha: 1.0,
        rgb: (255, 0, 0),
    };

    /// A line of a width.
    struct Wide(u32);

    impl BackendStyle for Wide {
        fn color(&self) -> BackendColor {
            RED
        }

        fn stroke_width(&self) -> u32 {
            self.0
        }
    }

    fn drawn(draw: impl FnOnce(&mut Raster<'_>) -> Drawn) -> RgbImage {
        let mut canvas = Canvas::new(21, 21, Rgb([0; 3]));
        draw(&mut Raster::new(&mut canvas)).unwrap();
        canvas.0
    }

    /// The red of a row of pixels.
    fn row(image: &RgbImage, y: u32) -> Vec<u8> {
        (0..image.width())
            .map(|x| image.get_pixel(x, y)[0])
            .collect()
    }

    fn column(image: &RgbImage, x: u32) -> Vec<u8> {
        (0..image.height())
            .map(|y| image.get_pixel(x, y)[0])
            .collect()
    }

    #[test]
    fn thin_lines_along_the_axes_are_sharp_and_two_pixels_have_soft_sides() {
        let image = drawn(|raster| raster.draw_line((3, 5), (9, 5), &Wide(1)));
        let mut expected = vec![0; 21];
        expected[3..=9].fill(255);
        assert_eq!(row(&image, 5), expected);
        assert!(
            row(&image, 4)
                .iter()
                .chain(&row(&image, 6))
                .all(|&red| red == 0)
        );
        let image = drawn(|raster| raster.draw_line((10, 0), (10, 20), &Wide(2)));
        assert_eq!(row(&image, 7)[8..=12], [0, 128, 255, 128, 0]);
    }

    #[test]
    fn a_line_has_the_area_of_its_width_and_corners_are_drawn_once() {
        let image = drawn(|raster| raster.draw_line((3, 2), (17, 13), &Wide(2)));
        let area: f64 = (0..21)
            .flat_map(|y| row(&image, y))
            .map(f64::from)
            .sum::<f64>()
            / 255.0;
        // Length 17.8, and a round end on either side.
        assert!((area - (2.0 * 17.8 + 3.1)).abs() < 1.0, "{area}");
        let half = BackendColor { alpha: 0.5, ..RED };
        let image = drawn(|raster| raster.draw_path([(2, 2), (10, 2), (10, 15)], &half));
        let most = (0..21).flat_map(|y| row(&image, y)).max();
        assert_eq!(most, Some(128));
    }

    #[test]
    fn discs_rings_and_rectangles() {
        let image = drawn(|raster| raster.draw_circle((10, 10), 5, &RED, true));
        let disc = column(&image, 10);
        assert_eq!(disc, row(&image, 10));
        // Half of the pixels at either end.
        assert_eq!(disc[4..=7], [0, 128, 255, 255]);
        assert_eq!(disc[13..=16], [255, 255, 128, 0]);
        let image = drawn(|raster| raster.draw_circle((10, 10), 5, &Wide(1), false));
        assert_eq!(row(&image, 10)[3..=11], [0, 0, 255, 0, 0, 0, 0, 0, 0]);
        let image = drawn(|raster| raster.draw_rect((2, 3), (4, 6), &RED, true));
        assert_eq!(row(&image, 6)[1..=5], [0, 255, 255, 255, 0]);
        assert_eq!(column(&image, 2)[2..=7], [0, 255, 255, 255, 255, 0]);
        let image = drawn(|raster| raster.draw_rect((2, 3), (6, 9), &RED, false));
        assert_eq!(row(&image, 5)[1..=7], [0, 255, 0, 0, 0, 255, 0]);
    }

    #[test]
    fn what_lies_outside_is_cut() {
        let far = i32::MAX;
        let image = drawn(|raster| {
            raster.draw_line((-far, 10), (far, 10), &RED)?;
            raster.draw_circle((far, far), u32::MAX, &Wide(1), false)?;
            raster.draw_rect((15, -far), (far, 3), &RED, true)?;
            raster.draw_path([(1, 1)], &RED)?;
            raster.draw_path([], &RED)
        });
        assert_eq!(row(&image, 10), [255; 21]);
        assert_eq!(column(&image, 16)[..6], [255, 255, 255, 255, 0, 0]);
    }
}
