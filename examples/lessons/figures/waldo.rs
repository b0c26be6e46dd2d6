//! Chapter 1: many people in a park, one in a striped shirt and a hat, and where the template answers most.
//!
//! A person is 10 × 26 squares, each of 2 × 2 pixels.

use anyhow::Result;
use fastrand::Rng;
use gemmconv::{ConvOptions, conv2d};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array4};

use super::Figure;
use super::draw::{BLUE, CYCLE, FAINT, INK, RED, Sheet, bold, svg};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 400;
const SCALE: u32 = 2;
/// A person in squares.
const BODY: (u32, u32) = (10, 26);
/// Where the one who is looked for stands: his left upper corner.
const PLACE: (u32, u32) = (414, 232);

const WHITE: Rgb<u8> = Rgb([245, 244, 240]);
const CRIMSON: Rgb<u8> = Rgb([200, 30, 40]);
const JEANS: Rgb<u8> = Rgb([50, 80, 140]);
const SKIN: Rgb<u8> = Rgb([236, 196, 164]);
const DARK: Rgb<u8> = Rgb([45, 38, 36]);
const CLOTHES: [Rgb<u8>; 8] = [
    Rgb([70, 120, 180]),
    Rgb([40, 140, 110]),
    Rgb([220, 170, 50]),
    Rgb([150, 90, 150]),
    CRIMSON,
    WHITE,
    Rgb([90, 90, 96]),
    Rgb([205, 120, 60]),
];

/// What somebody looks like.
#[derive(Clone, Copy)]
struct Person {
    /// A shirt of one colour, or of two in stripes that lie or stand.
    shirt: [Rgb<u8>; 2],
    upright: bool,
    trousers: Rgb<u8>,
    hair: Rgb<u8>,
    hat: Option<[Rgb<u8>; 2]>,
    glasses: bool,
}

const WALDO: Person = Person {
    shirt: [CRIMSON, WHITE],
    upright: false,
    trousers: JEANS,
    hair: DARK,
    hat: Some([CRIMSON, WHITE]),
    glasses: true,
};

impl Person {
    fn random(random: &mut Rng) -> Self {
        let mut colour = || CLOTHES[random.usize(..CLOTHES.len())];
        let (first, second, trousers) = (colour(), colour(), colour());
        let mut person = Self {
            shirt: [first, first],
            upright: random.bool(),
            trousers,
            hair: [DARK, Rgb([120, 80, 40]), Rgb([200, 160, 80])][random.usize(..3)],
            hat: None,
            glasses: random.u8(..4) == 0,
        };
        if random.u8(..3) == 0 {
            person.shirt[1] = second;
        }
        if random.u8(..4) == 0 {
            person.hat = Some([second, first]);
        }
        // There is one of his kind.
        if !person.upright && person.shirt[0] != person.shirt[1] && person.shirt.contains(&CRIMSON)
        {
            person.upright = true;
        }
        person
    }

    /// The colour of a square, if there is one.
    fn square(&self, x: u32, y: u32) -> Option<Rgb<u8>> {
        let stripe = if self.upright { x } else { y } / 2 % 2;
        match (y, x) {
            (0, 4 | 5) => self.hat.map(|hat| hat[1]),
            (1 | 2, 3..=6) => Some(self.hat.map_or(self.hair, |hat| hat[0])),
            (3, 2..=7) if self.hat.is_some() => self.hat.map(|hat| hat[1]),
            (3, 3..=6) => Some(self.hair),
            (5, 3 | 6) => Some(DARK),
            (5, 4 | 5) if self.glasses => Some(DARK),
            (4..=7, 3..=6) => Some(SKIN),
            (8..=15, 2..=7) | (9..=13, 1 | 8) => Some(self.shirt[stripe as usize]),
            (14 | 15, 1 | 8) => Some(SKIN),
            (16..=17, 2..=7) | (18..=23, 2..=4) | (18..=23, 6..=7) => Some(self.trousers),
            (24..=25, 1..=4) | (24..=25, 6..=8) => Some(DARK),
            _ => None,
        }
    }

    fn paint(&self, picture: &mut RgbImage, (left, top): (u32, u32)) {
        for y in 0..BODY.1 * SCALE {
            for x in 0..BODY.0 * SCALE {
                let pixel = picture.get_pixel_mut_checked(left + x, top + y);
                if let (Some(pixel), Some(colour)) = (pixel, self.square(x / SCALE, y / SCALE)) {
                    *pixel = colour;
                }
            }
        }
    }
}

/// Below 1 in the pond.
fn from_pond(x: f64, y: f64) -> f64 {
    ((x - 150.0) / 110.0).powi(2) + ((y - 110.0) / 50.0).powi(2)
}

/// Grass with a pond and a path.
fn park() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (fx, fy) = (f64::from(x), f64::from(y));
        let pond = from_pond(fx, fy);
        let path = (fy - 300.0 - 50.0 * (fx / 110.0).sin()).abs();
        match () {
            () if pond < 1.0 => Rgb([120, 175, 205]),
            () if pond < 1.12 || path < 24.0 => Rgb([222, 205, 165]),
            () if (x / 16 + y / 16) % 2 == 0 => Rgb([140, 185, 105]),
            () => Rgb([132, 178, 99]),
        }
    })
}

/// The park with everybody in it; who stands lower stands in front.
fn crowd() -> RgbImage {
    let random = &mut Rng::with_seed(11);
    let mut picture = park();
    let mut people = vec![(PLACE, WALDO)];
    let (width, height) = (BODY.0 * SCALE, BODY.1 * SCALE);
    while people.len() < 170 {
        let place = (
            random.u32(4..WIDTH - width - 4),
            random.u32(4..HEIGHT - height),
        );
        // Room to be seen, and him a little more of it.
        let near = |other: (u32, u32), x, y| {
            place.0.abs_diff(other.0) < x && place.1.abs_diff(other.1) < y
        };
        let person = Person::random(random);
        let hidden = people.iter().any(|&(other, _)| near(other, 14, 30));
        let (x, y) = (place.0 + width / 2, place.1 + height);
        let wet = from_pond(f64::from(x), f64::from(y)) < 1.15;
        if !hidden && !wet && !near(PLACE, width, height - 6) {
            people.push((place, person));
        }
    }
    people.sort_by_key(|&((x, y), _)| (y, x));
    for (place, person) in people {
        person.paint(&mut picture, place);
    }
    picture
}

/// His portrait, on grey.
fn portrait() -> RgbImage {
    let (width, height) = (BODY.0 * SCALE, 16 * SCALE);
    let mut picture = RgbImage::from_pixel(width, height, Rgb([128; 3]));
    WALDO.paint(&mut picture, (0, 0));
    picture
}

pub fn picture() -> Result<Figure> {
    Ok(Figure::Png(crowd()))
}

pub fn template() -> Result<Figure> {
    Ok(Figure::Png(portrait()))
}

/// [1, 3, height, width], 0 to 1.
fn channels(picture: &RgbImage) -> Array4<f32> {
    let shape = (1, 3, picture.height() as usize, picture.width() as usize);
    Array4::from_shape_fn(shape, |(_, channel, y, x)| {
        f32::from(picture.get_pixel(x as u32, y as u32)[channel]) / 255.0
    })
}

/// How well the portrait, less its mean, fits at each place.
fn answer() -> Result<Array2<f32>> {
    let mut template = channels(&portrait());
    let mean = template.sum() / template.len() as f32;
    template -= mean;
    let answer = conv2d(&channels(&crowd()), &template, None, &ConvOptions::new())?;
    Ok(answer.slice_move(ndarray::s![0, 0, .., ..]))
}

/// Positive answers, dark to bright, each at the left upper corner of its window.
pub fn response() -> Result<Figure> {
    let answer = answer()?;
    let most = answer.iter().copied().fold(0.0, f32::max);
    let (rows, columns) = answer.dim();
    let mut picture = RgbImage::from_fn(columns as u32, rows as u32, |x, y| {
        let share = (answer[[y as usize, x as usize]] / most).max(0.0);
        let level = |from: f32, to: f32| (from + (to - from) * share).round() as u8;
        Rgb([level(14.0, 255.0), level(20.0, 214.0), level(46.0, 70.0)])
    });
    // A ring about the place.
    let (x, y) = (f64::from(PLACE.0), f64::from(PLACE.1));
    for (column, row, pixel) in picture.enumerate_pixels_mut() {
        let away = (f64::from(column) - x).hypot(f64::from(row) - y);
        if (14.0..16.5).contains(&away) {
            *pixel = Rgb([RED.0, RED.1, RED.2]);
        }
    }
    Ok(Figure::Png(picture))
}

/// Every input to every output; neighbours alone; neighbours with the same weights everywhere.
pub fn connections() -> Result<Figure> {
    let picture = svg(800, 300, |sheet| {
        let all = |_: usize, _: usize| Some(FAINT);
        let near = |input: usize, output: usize| (output..output + 3).contains(&input);
        part(sheet, 20, ["fully connected", "6 · 4 = 24 weights"], all);
        part(
            sheet,
            280,
            ["locally connected", "4 · 3 = 12 weights"],
            |i, o| near(i, o).then_some(BLUE),
        );
        part(sheet, 540, ["convolution", "3 weights, shared"], |i, o| {
            near(i, o).then(|| CYCLE[i - o])
        });
    })?;
    Ok(Figure::Svg(picture))
}

fn part(
    sheet: &Sheet,
    left: i32,
    [title, note]: [&str; 2],
    line: impl Fn(usize, usize) -> Option<plotters::style::RGBColor>,
) {
    let input = |index: usize| (left + 20 + 40 * index as i32, 220);
    let output = |index: usize| (left + 60 + 40 * index as i32, 90);
    sheet.text(title, (left + 120, 30), 17, bold(INK));
    for from in 0..6 {
        for to in 0..4 {
            if let Some(colour) = line(from, to) {
                sheet.path(&[input(from), output(to)], colour, 2);
            }
        }
    }
    (0..6).for_each(|index| sheet.dot(input(index), 9, INK));
    (0..4).for_each(|index| sheet.dot(output(index), 9, INK));
    sheet.text("outputs", (left + 120, 64), 13, FAINT);
    sheet.text("inputs", (left + 120, 246), 13, FAINT);
    sheet.text(note, (left + 120, 278), 16, INK);
}
