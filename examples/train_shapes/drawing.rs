//! Pictures of one shape each: what it is, where and how it stands, and what is behind it, all by chance.
//!
//! A shape is a function from a point to whether it is inside, a picture a function from a point to a colour.

use std::f32::consts::{PI, TAU};

use fastrand::Rng;
use image::{Rgb, RgbImage};

/// Red, green, blue, 0 to 1.
type Colour = [f32; 3];

/// What is to be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Cross,
    Heart,
    Moon,
    Ring,
    Square,
    Star,
    Triangle,
}

impl Shape {
    /// In the order of their classes.
    pub const ALL: [Self; 8] = [
        Self::Circle,
        Self::Cross,
        Self::Heart,
        Self::Moon,
        Self::Ring,
        Self::Square,
        Self::Star,
        Self::Triangle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Cross => "cross",
            Self::Heart => "heart",
            Self::Moon => "moon",
            Self::Ring => "ring",
            Self::Square => "square",
            Self::Star => "star",
            Self::Triangle => "triangle",
        }
    }

    /// Whether its rim alone looks like nothing else. That of a circle is a ring.
    fn has_outline(self) -> bool {
        matches!(
            self,
            Self::Heart | Self::Square | Self::Star | Self::Triangle
        )
    }

    /// Whether (x, y) is inside, y upwards; the shape reaches about 1 from the origin.
    fn holds(self, x: f32, y: f32) -> bool {
        let radius = x.hypot(y);
        match self {
            Self::Circle => radius < 0.95,
            Self::Cross => {
                let (long, short) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
                long < 0.95 && short < 0.3
            }
            Self::Heart => {
                let (x, y) = (1.3 * x, 1.3 * y + 0.15);
                (x * x + y * y - 1.0).powi(3) < x * x * y.powi(3)
            }
            Self::Moon => {
                let (x, y) = (1.15 * x - 0.35, 1.15 * y);
                x.hypot(y) < 0.95 && (x - 0.45).hypot(y) > 0.8
            }
            Self::Ring => (0.6..0.95).contains(&radius),
            Self::Square => x.abs().max(y.abs()) < 0.75,
            Self::Star => {
                // A tenth of it is the triangle between the origin, a point and the dent beside it.
                let (point, dent) = (1.0, 0.42);
                let angle = x.atan2(y).rem_euclid(TAU / 5.0);
                let angle = angle.min(TAU / 5.0 - angle);
                let (sine, cosine) = (PI / 5.0).sin_cos();
                let (x, y) = (radius * angle.cos(), radius * angle.sin());
                (point - x) * dent * sine > y * (point - dent * cosine)
            }
            Self::Triangle => {
                let third = |side: i32| {
                    let (sine, cosine) = (TAU / 3.0 * side as f32).sin_cos();
                    x * sine - y * cosine < 0.5
                };
                (0..3).all(third)
            }
        }
    }
}

/// What is behind a shape: two colours in one of four ways, `size` the length of what repeats.
#[derive(Clone, Copy)]
enum Ground {
    Plain,
    Gradient,
    Stripes { size: f32 },
    Checks { size: f32 },
}

/// A picture before it is painted. Lengths are in parts of its shorter side, from its middle.
pub struct Scene {
    shape: Shape,
    centre: [f32; 2],
    radius: f32,
    angle: f32,
    outlined: bool,
    colour: Colour,
    ground: Ground,
    ground_angle: f32,
    ground_colours: [Colour; 2],
    /// How far each pixel strays.
    noise: f32,
}

impl Scene {
    pub fn random(shape: Shape, random: &mut Rng) -> Self {
        let first = colour(random);
        let ground_colours = [first, mixed(first, colour(random), 0.4)];
        // The shape must be seen before both colours.
        let colour = loop {
            let colour = colour(random);
            if ground_colours
                .iter()
                .all(|ground| distance(colour, *ground) > 0.5)
            {
                break colour;
            }
        };
        let radius = between(0.2, 0.45, random);
        let size = between(0.1, 0.4, random);
        Self {
            shape,
            centre: [(); 2].map(|_| between(radius - 0.5, 0.5 - radius, random)),
            radius,
            angle: between(0.0, TAU, random),
            outlined: shape.has_outline() && random.f32() < 0.4,
            colour,
            ground: match random.u8(..4) {
                0 => Ground::Plain,
                1 => Ground::Gradient,
                2 => Ground::Stripes { size },
                _ => Ground::Checks { size },
            },
            ground_angle: between(0.0, TAU, random),
            ground_colours,
            noise: between(0.0, 0.08, random),
        }
    }

    /// The same without noise, which makes large files.
    pub fn clean(self) -> Self {
        Self { noise: 0.0, ..self }
    }

    /// Paints it, each pixel by its middle.
    pub fn paint(&self, width: u32, height: u32, random: &mut Rng) -> RgbImage {
        let side = width.min(height) as f32;
        RgbImage::from_fn(width, height, |column, row| {
            let x = (column as f32 + 0.5 - width as f32 / 2.0) / side;
            let y = (row as f32 + 0.5 - height as f32 / 2.0) / side;
            let colour = match self.covers(x, y) {
                true => self.colour,
                false => self.behind(x, y),
            };
            Rgb(colour.map(|value| {
                let value = value + self.noise * between(-1.0, 1.0, random);
                (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
            }))
        })
    }

    fn covers(&self, x: f32, y: f32) -> bool {
        let [x, y] = [x - self.centre[0], y - self.centre[1]].map(|length| length / self.radius);
        let [x, y] = turned(x, y, self.angle);
        // The hole is the same shape, smaller.
        let in_hole = || self.outlined && self.shape.holds(x / 0.6, y / 0.6);
        self.shape.holds(x, y) && !in_hole()
    }

    fn behind(&self, x: f32, y: f32) -> Colour {
        let [first, second] = self.ground_colours;
        let [x, y] = turned(x, y, self.ground_angle);
        let odd = |length: f32, size: f32| (length / size).rem_euclid(2.0) < 1.0;
        let share = match self.ground {
            Ground::Plain => 0.0,
            Ground::Gradient => (x + 0.5).clamp(0.0, 1.0),
            Ground::Stripes { size } => f32::from(odd(x, size)),
            Ground::Checks { size } => f32::from(odd(x, size) != odd(y, size)),
        };
        mixed(first, second, share)
    }
}

fn turned(x: f32, y: f32, angle: f32) -> [f32; 2] {
    let (sine, cosine) = angle.sin_cos();
    [cosine * x - sine * y, sine * x + cosine * y]
}

fn between(low: f32, high: f32, random: &mut Rng) -> f32 {
    low + (high - low) * random.f32()
}

fn colour(random: &mut Rng) -> Colour {
    [(); 3].map(|_| random.f32())
}

fn mixed(first: Colour, second: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| first[channel] + (second[channel] - first[channel]) * share)
}

fn distance(a: Colour, b: Colour) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f32>().sqrt()
}
