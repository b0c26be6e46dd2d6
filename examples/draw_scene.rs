//! Draws `docs/images/scene.png`, the picture that the repository ships to filter.
//!
//! ```text
//! cargo run --release --features cli --example draw_scene [FILE]
//! ```
//!
//! The picture is a function from a point to a colour, averaged over 6 × 6 points of every pixel. It holds
//! what filters answer to: straight edges at many angles (fence, roof, mountains, sails), circles and curves
//! (sun, balloon, crown, path), gradients (sky, hills), texture (bricks, tiles, leaves, furrows) and letters.
//! No file goes in, and nothing is random: the same picture comes out everywhere.

use std::error::Error;
use std::f32::consts::{PI, TAU};

use embedded_graphics::mock_display::MockDisplay;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X13_BOLD;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Drawable, Point};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// Points a side of every pixel.
const SAMPLES: u32 = 6;

/// Red, green, blue, 0 to 1.
type Colour = [f32; 3];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "docs/images/scene.png".into());
    let sign = Sign::new();
    let picture = RgbImage::from_fn(WIDTH, HEIGHT, |column, row| {
        let mut sum = [0.0; 3];
        for step in 0..SAMPLES * SAMPLES {
            let offset = |index: u32| (index as f32 + 0.5) / SAMPLES as f32;
            let x = column as f32 + offset(step % SAMPLES);
            let y = row as f32 + offset(step / SAMPLES);
            let colour = scene(x, y, &sign);
            (0..3).for_each(|channel| sum[channel] += colour[channel]);
        }
        let mean = |sum: f32| (sum / (SAMPLES * SAMPLES) as f32 * 255.0 + 0.5) as u8;
        Rgb(sum.map(mean))
    });
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    picture.write_with_encoder(PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive))?;
    Ok(())
}

/// The colour at (x, y), x to the right and y down, in pixels: every layer paints over those before it.
fn scene(x: f32, y: f32, sign: &Sign) -> Colour {
    let mut colour = sky(x, y);
    clouds(x, y, &mut colour);
    birds(x, y, &mut colour);
    mountains(x, y, &mut colour);
    balloon(x, y, &mut colour);
    hills(x, y, &mut colour);
    windmill(x, y, &mut colour);
    path(x, y, &mut colour);
    pines(x, y, &mut colour);
    house(x, y, &mut colour);
    tree(x, y, &mut colour);
    fence(x, y, &mut colour);
    sign.paint(x, y, &mut colour);
    flowers(x, y, &mut colour);
    colour
}

// ---------------------------------------------------------------- tools

fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

fn shade(colour: Colour, factor: f32) -> Colour {
    colour.map(|value| (value * factor).clamp(0.0, 1.0))
}

fn hex(code: u32) -> Colour {
    [16, 8, 0].map(|shift| ((code >> shift) & 255) as f32 / 255.0)
}

/// 0 before `from`, 1 after `to`, smooth between.
fn step(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn in_circle(x: f32, y: f32, centre: (f32, f32), radius: f32) -> bool {
    (x - centre.0).hypot(y - centre.1) < radius
}

/// The distance from the line segment between `a` and `b`.
fn from_segment(x: f32, y: f32, a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = (((x - a.0) * dx + (y - a.1) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (x - a.0 - along * dx).hypot(y - a.1 - along * dy)
}

/// A number in 0..1 that looks random and belongs to the cell (i, j).
fn hash(i: i32, j: i32) -> f32 {
    let mut bits = (i as u32).wrapping_mul(0x9e37_79b1) ^ (j as u32).wrapping_mul(0x85eb_ca77);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    ((bits ^ (bits >> 15)) >> 8) as f32 / 16_777_216.0
}

/// Smooth noise in 0..1: the numbers of the four cells around, blended.
fn noise(x: f32, y: f32) -> f32 {
    let (i, j) = (x.floor() as i32, y.floor() as i32);
    let (s, t) = (step(0.0, 1.0, x - x.floor()), step(0.0, 1.0, y - y.floor()));
    let blend = |a: f32, b: f32, share: f32| a + (b - a) * share;
    blend(blend(hash(i, j), hash(i + 1, j), s), blend(hash(i, j + 1), hash(i + 1, j + 1), s), t)
}

/// Straight lines through `points`, sorted by x.
fn ridge(points: &[(f32, f32)], x: f32) -> f32 {
    let next = points.partition_point(|point| point.0 <= x).clamp(1, points.len() - 1);
    let (a, b) = (points[next - 1], points[next]);
    a.1 + (b.1 - a.1) * ((x - a.0) / (b.0 - a.0)).clamp(0.0, 1.0)
}

// ---------------------------------------------------------------- far away

fn sky(x: f32, y: f32) -> Colour {
    let high = mix(hex(0x2f6fb3), hex(0x8fc1e3), step(0.0, 190.0, y));
    let mut colour = mix(high, hex(0xfbe3bd), step(120.0, 290.0, y));
    let distance = (x - 520.0).hypot(y - 92.0);
    colour = mix(colour, hex(0xfff0c0), 0.75 * (-distance / 70.0).exp());
    // Twelve rays, two widths by turns, cut off by the disc and fading outwards.
    let turn = (y - 92.0).atan2(x - 520.0) / TAU * 24.0 + 0.2;
    let narrow = (turn - turn.round()).abs() < 0.17 && turn.round() as i32 % 2 == 0;
    if narrow && (48.0..74.0).contains(&distance) {
        colour = hex(0xfff0b8);
    }
    if distance < 38.0 { mix(hex(0xfff6d0), hex(0xffd257), distance / 38.0) } else { colour }
}

fn clouds(x: f32, y: f32, colour: &mut Colour) {
    const PUFFS: [(f32, f32, f32); 11] = [
        (232.0, 66.0, 20.0),
        (258.0, 54.0, 27.0),
        (290.0, 58.0, 24.0),
        (316.0, 68.0, 17.0),
        (372.0, 138.0, 13.0),
        (392.0, 130.0, 18.0),
        (416.0, 134.0, 15.0),
        (434.0, 140.0, 10.0),
        (16.0, 168.0, 16.0),
        (38.0, 158.0, 21.0),
        (64.0, 166.0, 15.0),
    ];
    let mut depth: f32 = -1.0;
    for (index, &(cx, cy, radius)) in PUFFS.iter().enumerate() {
        // The base of a cloud is flat.
        let base = [78.0, 148.0, 176.0][index / 4];
        if y < base {
            depth = depth.max(1.0 - (x - cx).hypot(y - cy) / radius);
        }
    }
    if depth > 0.0 {
        let light = 0.86 + 0.3 * depth - 0.002 * (y - 60.0).max(0.0);
        *colour = mix(*colour, shade(hex(0xffffff), light), 0.93);
    }
}

fn birds(x: f32, y: f32, colour: &mut Colour) {
    for (cx, cy, span) in [(338.0, 118.0, 11.0), (362.0, 104.0, 8.0), (318.0, 102.0, 7.0), (90.0, 40.0, 6.0)] {
        let wing = (x - cx).abs() / span;
        let arc = cy - 0.62 * span * (wing * PI * 0.62).sin();
        if wing < 1.0 && (y - arc).abs() < 1.5 * (1.1 - wing) {
            *colour = hex(0x2a3440);
        }
    }
}

fn mountains(x: f32, y: f32, colour: &mut Colour) {
    const FAR: [(f32, f32); 9] = [
        (0.0, 232.0),
        (60.0, 190.0),
        (105.0, 214.0),
        (205.0, 132.0),
        (268.0, 196.0),
        (318.0, 160.0),
        (402.0, 226.0),
        (520.0, 176.0),
        (640.0, 236.0),
    ];
    const NEAR: [(f32, f32); 7] = [
        (0.0, 246.0),
        (95.0, 222.0),
        (190.0, 252.0),
        (330.0, 214.0),
        (440.0, 256.0),
        (560.0, 216.0),
        (640.0, 250.0),
    ];
    let far = ridge(&FAR, x);
    if y > far {
        // The side of each ridge that falls to the left lies in the shade.
        let slope = ridge(&FAR, x + 1.0) - ridge(&FAR, x - 1.0);
        let rock = if slope < 0.0 { hex(0x8ba0bd) } else { hex(0x6d84a8) };
        let jag = 6.0 * (noise(x / 7.0, 1.0) - 0.5) + 3.0 * ((x / 9.0).fract() - 0.5).abs();
        let snow = if slope < 0.0 { hex(0xf7f8fb) } else { hex(0xd5dfee) };
        let height = if y < 172.0 + jag { snow } else { rock };
        *colour = mix(height, hex(0xe9d9c4), step(150.0, 300.0, y));
    }
    if y > ridge(&NEAR, x) {
        *colour = mix(hex(0x58789a), hex(0xb9bfb0), step(210.0, 290.0, y));
    }
}

fn balloon(x: f32, y: f32, colour: &mut Colour) {
    let (cx, cy, radius) = (112.0, 92.0, 44.0);
    let (dx, dy) = (x - cx, y - cy);
    // A ball above, drawn together to the mouth below.
    let width = if dy < 0.0 {
        (radius * radius - dy * dy).max(0.0).sqrt()
    } else {
        radius * (1.0 - (dy / 66.0).powi(2)).max(0.0) * (1.0 - 0.25 * dy / 66.0)
    };
    if dx.abs() < width && dy < 56.0 {
        let around = (dx / width).asin();
        let stripe = ((around / PI + 0.5) * 7.0).floor() as usize;
        let cloth = [hex(0xd8433b), hex(0xf6efe0)][stripe % 2];
        let band = if (-9.0..3.0).contains(&dy) { hex(0x2e5d8c) } else { cloth };
        *colour = shade(band, 1.04 - 0.26 * (dx / radius + 0.35).max(0.0) - 0.1 * (dy / radius).max(0.0));
    }
    for side in [-1.0, 1.0] {
        if from_segment(x, y, (cx + side * 10.0, cy + 54.0), (cx + side * 6.0, cy + 70.0)) < 0.7 {
            *colour = hex(0x4a3b2c);
        }
    }
    if dx.abs() < 8.0 && (70.0..82.0).contains(&dy) {
        let weave = ((dx / 2.0).floor() + (dy / 2.0).floor()) as i32 % 2 == 0;
        *colour = if weave { hex(0x9a6b3b) } else { hex(0x7d5430) };
    }
}

// ---------------------------------------------------------------- the land

fn meadow_line(x: f32) -> f32 {
    292.0 + 12.0 * (x / 118.0 + 0.6).sin() + 5.0 * (x / 47.0).sin()
}

fn hills(x: f32, y: f32, colour: &mut Colour) {
    let back = 258.0 + 17.0 * (x / 96.0 + 2.4).sin();
    if y > back {
        // Furrows that meet in a point behind the hill.
        let turn = (x - 330.0) / (y - 205.0);
        let furrow = (turn * 9.0).rem_euclid(1.0) < 0.5;
        let field = if furrow { hex(0xc6b45c) } else { hex(0xab9c48) };
        let field = if x > 440.0 || x < 185.0 { hex(0x93b05a) } else { field };
        *colour = mix(field, hex(0xd8d59b), step(40.0, 0.0, y - back) * 0.5);
    }
    if y > meadow_line(x) {
        let depth = (y - meadow_line(x)) / 190.0;
        let grass = mix(hex(0x8fbf4d), hex(0x3f7d33), depth);
        // Blades: columns of uneven height, larger towards the viewer.
        let size = 3.0 + 5.0 * depth;
        let (i, j) = ((x / size * 2.2).floor() as i32, (y / size / 2.2).floor() as i32);
        *colour = shade(grass, 0.93 + 0.16 * hash(i, j) * (0.35 + depth));
    }
}

fn path_middle(y: f32) -> f32 {
    let t = (y - 380.0) / 100.0;
    172.0 + 150.0 * t * t + 26.0 * (t * 3.4).sin()
}

fn path(x: f32, y: f32, colour: &mut Colour) {
    if y < 378.0 {
        return;
    }
    let half = 13.0 + 0.34 * (y - 378.0);
    let across = (x - path_middle(y)) / half;
    if across.abs() < 1.0 {
        // Stones in rows that grow towards the viewer, every other row shifted by half a stone.
        let row = ((y - 340.0) / 40.0).ln() * 11.0;
        let column = across * 2.5 + 0.5 * (row.floor() as i32).rem_euclid(2) as f32;
        let (u, v) = (column.rem_euclid(1.0) - 0.5, row.rem_euclid(1.0) - 0.5);
        let stone = u.abs().max(v.abs()) < 0.43 && u.abs() + v.abs() < 0.76;
        let grey = 0.88 + 0.2 * hash(column.floor() as i32, row.floor() as i32);
        *colour = if stone { shade(hex(0xcbbfa8), grey) } else { hex(0x8a7c62) };
    } else if across.abs() < 1.06 {
        *colour = hex(0x5d6b35);
    }
}

fn windmill(x: f32, y: f32, colour: &mut Colour) {
    let (cx, cap) = (590.0, 176.0);
    let down = y - cap;
    let half = 9.0 + 0.11 * down;
    if down > 0.0 && y < 272.0 && (x - cx).abs() < half {
        let plank = ((y / 7.0).rem_euclid(1.0) < 0.14) as u8 as f32;
        let window = (x - cx).abs() < 3.0 && (206.0..216.0).contains(&y);
        let wall = if window { hex(0x3d4a5c) } else { hex(0xefe4d2) };
        *colour = shade(wall, 1.0 - 0.24 * ((x - cx) / half).max(0.0) - 0.12 * plank);
    }
    if in_circle(x, y, (cx, cap + 1.0), 11.0) && y < cap + 1.0 {
        *colour = hex(0x8c3d2f);
    }
    for arm in 0..4 {
        let angle = arm as f32 * PI / 2.0 + 0.42;
        let (dx, dy) = (x - cx, y - cap + 2.0);
        let along = dx * angle.cos() + dy * angle.sin();
        let aside = -dx * angle.sin() + dy * angle.cos();
        if (12.0..54.0).contains(&along) && (0.0..11.0).contains(&aside) {
            let lattice = (along / 7.0).rem_euclid(1.0) < 0.22 || (aside - 9.6).abs() < 1.4 || (aside - 5.0).abs() < 0.8;
            *colour = if lattice { hex(0x6b4a33) } else { hex(0xf7efdf) };
        }
        if (0.0..56.0).contains(&along) && aside.abs() < 1.6 {
            *colour = hex(0x4e3524);
        }
    }
    if in_circle(x, y, (cx, cap - 2.0), 3.6) {
        *colour = hex(0x2e2019);
    }
}

fn pines(x: f32, y: f32, colour: &mut Colour) {
    for (cx, foot, size) in [(22.0, 306.0, 66.0), (52.0, 312.0, 84.0), (272.0, 300.0, 58.0), (300.0, 304.0, 42.0)] {
        let up = (foot - y) / size;
        if (x - cx).abs() < 0.035 * size && (-0.12..0.1).contains(&up) {
            *colour = hex(0x5b4028);
        }
        if (0.0..1.0).contains(&up) {
            // Four skirts, each a triangle of its own.
            let tier = (up * 4.0).floor();
            let inside = up * 4.0 - tier;
            let half = size * (0.30 - 0.055 * tier) * (1.0 - 0.62 * inside);
            if (x - cx).abs() < half.min(size * (1.0 - up) * 0.4) {
                let side = if x < cx { 1.12 } else { 0.86 };
                *colour = shade(hex(0x2f6148), side + 0.22 * inside - 0.1);
            }
        }
    }
}

// ---------------------------------------------------------------- the house

fn house(x: f32, y: f32, colour: &mut Colour) {
    let (left, right, eaves, ground) = (92.0, 242.0, 288.0, 392.0);
    let ridge_y = 214.0;
    smoke(x, y, colour);
    // Chimney, behind the roof.
    if (204.0..222.0).contains(&x) && (206.0..262.0).contains(&y) {
        *colour = bricks(x, y, 6.0, 4.0, hex(0x9c4a3a), hex(0x6f3429));
    }
    if (201.0..225.0).contains(&x) && (202.0..207.0).contains(&y) {
        *colour = hex(0x6f3429);
    }
    // The gable wall, up to the ridge.
    let middle = (left + right) / 2.0;
    let slope = (eaves - ridge_y) / (middle - left);
    let roof = ridge_y + (x - middle).abs() * slope;
    if (left..right).contains(&x) && y > roof && y < ground {
        *colour = bricks(x, y, 14.0, 7.0, hex(0xd9a679), hex(0xf0dcc0));
        *colour = shade(*colour, 1.03 - 0.16 * step(middle, right, x) - 0.22 * step(22.0, 6.0, y - roof));
    }
    // The roof: a band along both slopes, of overlapping tiles.
    let from_edge = y - roof;
    let overhang = (x - middle).abs() < middle - left + 16.0;
    if overhang && (-15.0..5.0).contains(&from_edge) {
        let along = (x - middle) / 7.0;
        let course = ((from_edge + 15.0) / 5.0).floor();
        let tile = (along + 0.5 * course).rem_euclid(1.0) - 0.5;
        let scallop = (from_edge + 15.0) / 5.0 - course > 0.98 - 0.9 * (0.25 - tile * tile).max(0.0).sqrt() * 2.0 + 0.55;
        let light = if x < middle { 1.1 } else { 0.84 };
        *colour = shade(hex(0xb5432f), light - 0.12 * course * 0.5 - if scallop || tile.abs() > 0.44 { 0.28 } else { 0.0 });
    }
    if (left - 4.0..right + 4.0).contains(&x) && (ground - 8.0..ground).contains(&y) {
        *colour = shade(hex(0x8d8778), 0.9 + 0.2 * hash((x / 12.0) as i32, 3));
    }
    windows(x, y, colour);
    door(x, y, colour);
}

fn bricks(x: f32, y: f32, width: f32, height: f32, brick: Colour, mortar: Colour) -> Colour {
    let row = (y / height).floor();
    let column = x / width + 0.5 * (row as i32).rem_euclid(2) as f32;
    let joint = (y / height).rem_euclid(1.0) * height < 1.1 || column.rem_euclid(1.0) * width < 1.1;
    if joint { mortar } else { shade(brick, 0.9 + 0.2 * hash(column.floor() as i32, row as i32)) }
}

fn windows(x: f32, y: f32, colour: &mut Colour) {
    for cx in [122.0, 212.0] {
        let (dx, dy) = ((x - cx).abs(), (y - 328.0).abs());
        if dx < 19.0 && dy < 22.0 {
            *colour = hex(0xfaf6ec);
        }
        if dx < 16.0 && dy < 19.0 && dx > 1.4 && (y - 324.0).abs() > 1.4 {
            // Glass with the sky in it, brighter along a slanted band.
            let glint = ((x + y * 0.6) / 17.0).rem_euclid(2.0) < 0.5;
            *colour = if glint { hex(0xb9d7ea) } else { mix(hex(0x6f9fc4), hex(0x2f4d6b), (y - 309.0) / 38.0) };
        }
        if dx < 22.0 && (y - 352.0).abs() < 2.6 {
            *colour = hex(0xc9bda6);
        }
    }
    let round = (x - 167.0).hypot(y - 262.0);
    if round < 15.0 {
        *colour = hex(0xfaf6ec);
    }
    if round < 12.0 && (x - 167.0).abs() > 1.2 && (y - 262.0).abs() > 1.2 {
        *colour = mix(hex(0x7fadd0), hex(0x35587a), round / 12.0);
    }
}

fn door(x: f32, y: f32, colour: &mut Colour) {
    let dx = (x - 167.0).abs();
    let arch = |half: f32| dx < half && (y > 336.0 || in_circle(x, y, (167.0, 336.0), half)) && y < 392.0;
    if arch(20.0) {
        *colour = hex(0xf3ead7);
    }
    if arch(16.0) {
        let board = ((x - 151.0) / 6.4).rem_euclid(1.0) < 0.16;
        *colour = shade(hex(0x2f6f73), if board { 0.7 } else { 1.0 - 0.002 * (y - 320.0) });
    }
    if in_circle(x, y, (177.0, 362.0), 2.4) {
        *colour = hex(0xf2c14e);
    }
}

fn smoke(x: f32, y: f32, colour: &mut Colour) {
    if !(128.0..203.0).contains(&y) {
        return;
    }
    let up = (203.0 - y) / 75.0;
    let middle = 213.0 + 16.0 * up + 9.0 * (up * 9.0).sin() * up;
    let across = (x - middle).abs() / (4.0 + 9.0 * up);
    *colour = mix(*colour, hex(0xf1eeea), 0.75 * (1.0 - up) * step(1.0, 0.55, across));
}

// ---------------------------------------------------------------- in front

fn tree(x: f32, y: f32, colour: &mut Colour) {
    let trunk = 11.0 + 0.0022 * (y - 330.0).max(0.0).powi(2) - 0.02 * (y - 330.0);
    let bend = 3.0 * ((y - 260.0) / 40.0).sin();
    if (268.0..402.0).contains(&y) && (x - 446.0 - bend).abs() < trunk {
        let bark = noise((x - bend) / 2.6, y / 15.0);
        let round = 1.1 - 0.45 * ((x - 446.0 - bend) / trunk + 0.25).max(0.0);
        *colour = shade(hex(0x75523a), round * (0.72 + 0.5 * bark));
    }
    for (a, b) in [((446.0, 306.0), (410.0, 262.0)), ((448.0, 298.0), (486.0, 256.0))] {
        if from_segment(x, y, a, b) < 4.6 {
            *colour = hex(0x6a4a34);
        }
    }
    const CROWN: [(f32, f32, f32); 8] = [
        (446.0, 196.0, 46.0),
        (408.0, 222.0, 36.0),
        (486.0, 218.0, 38.0),
        (386.0, 252.0, 27.0),
        (508.0, 250.0, 27.0),
        (430.0, 250.0, 33.0),
        (468.0, 252.0, 31.0),
        (448.0, 224.0, 40.0),
    ];
    for &(cx, cy, radius) in &CROWN {
        let ragged = radius * (0.94 + 0.12 * noise(x / 5.0 + 9.0, y / 5.0));
        let distance = (x - cx).hypot(y - cy);
        if distance < ragged {
            // Light from the upper right, and leaves as bright and dark specks.
            let light = 0.9 + 0.34 * ((x - cx) - (y - cy)) / radius / 1.4 - 0.12 * distance / radius;
            let leaf = noise(x / 2.7, y / 2.7) + 0.5 * noise(x / 6.0, y / 6.0);
            *colour = shade(hex(0x4f9140), light * (0.66 + 0.46 * leaf));
        }
    }
    for (index, (cx, cy)) in [(404.0, 228.0), (432.0, 192.0), (470.0, 212.0), (496.0, 240.0), (450.0, 248.0), (422.0, 258.0)]
        .into_iter()
        .enumerate()
    {
        if in_circle(x, y, (cx, cy), 5.0) {
            *colour = shade(hex(0xd63d2e), 1.1 - 0.06 * (x - cx - index as f32 * 0.2 + cy - y).abs());
        }
    }
}

fn fence(x: f32, y: f32, colour: &mut Colour) {
    if x < 352.0 {
        return;
    }
    let drop = 0.035 * (x - 352.0);
    let pitch = 18.0;
    let picket = ((x - 352.0) / pitch).floor();
    let aside = (x - 352.0 - picket * pitch - 7.0).abs();
    let top = 374.0 + 0.035 * picket * pitch;
    let white = hex(0xfbfaf5);
    for rail in [389.0, 424.0] {
        if (y - rail - drop).abs() < 3.4 {
            *colour = shade(white, 0.86);
        }
        if (3.4..4.6).contains(&(y - rail - drop)) {
            *colour = shade(*colour, 0.7);
        }
    }
    if aside < 5.6 && y > top + aside * 1.25 && y < top + 72.0 {
        let nail = [389.0, 424.0].iter().any(|rail| in_circle(aside, y, (0.0, rail + drop), 1.1));
        let grain = 0.03 * noise(x / 1.5, y / 18.0);
        let edge = if x > 352.0 + picket * pitch + 10.6 { 0.8 } else { 0.985 };
        *colour = if nail { hex(0x6d6a66) } else { shade(white, edge - grain) };
    }
}

fn flowers(x: f32, y: f32, colour: &mut Colour) {
    let (column, row) = ((x / 22.0).floor() as i32, (y / 17.0).floor() as i32);
    if !(24..28).contains(&row) || hash(column, row + 50) < 0.45 {
        return;
    }
    let cx = (column as f32 + 0.25 + 0.5 * hash(column, row)) * 22.0;
    let cy = (row as f32 + 0.3 + 0.4 * hash(row, column)) * 17.0;
    if ((cx - path_middle(cy)) / (19.0 + 0.34 * (cy - 378.0))).abs() < 1.0 || (cx > 340.0 && cy < 454.0) {
        return;
    }
    let (dx, dy) = (x - cx, y - cy);
    let petals = 3.3 + 1.5 * (5.0 * dy.atan2(dx)).cos();
    if dx.hypot(dy) < petals {
        let kinds = [hex(0xf7f3ff), hex(0xf06a8a), hex(0xffc93c), hex(0x9a6ddb)];
        *colour = kinds[(hash(column + 7, row) * 3.999) as usize];
    }
    if dx.hypot(dy) < 1.5 {
        *colour = hex(0xe58a1f);
    }
}

/// A board on a post, with two lines of text.
struct Sign {
    letters: MockDisplay<BinaryColor>,
}

impl Sign {
    const LEFT: f32 = 282.0;
    const TOP: f32 = 330.0;

    fn new() -> Self {
        let mut letters = MockDisplay::new();
        letters.set_allow_overdraw(true);
        letters.set_allow_out_of_bounds_drawing(true);
        let style = TextStyleBuilder::new().alignment(Alignment::Center).baseline(Baseline::Top).build();
        for (text, y) in [("im2col", 2), ("Y = W X", 15)] {
            let font = MonoTextStyle::new(&FONT_6X13_BOLD, BinaryColor::On);
            let drawn = Text::with_text_style(text, Point::new(24, y), font, style).draw(&mut letters);
            drawn.expect("a mock display takes every pixel");
        }
        Self { letters }
    }

    fn paint(&self, x: f32, y: f32, colour: &mut Colour) {
        let (u, v) = (x - Self::LEFT, y - Self::TOP);
        if (36.0..41.0).contains(&u) && (40.0..86.0).contains(&v) {
            *colour = shade(hex(0x7a5a3c), 1.1 - 0.08 * (u - 36.0));
        }
        // An arrow to the right: the board ends in a point.
        let inside = |margin: f32| {
            v > margin && v < 46.0 - margin && u > margin && u < 88.0 - 1.3 * margin - (v - 23.0).abs() * 0.55
        };
        if inside(0.0) {
            *colour = hex(0x5c4027);
        }
        if inside(2.4) {
            let grain = noise(u / 24.0, v / 2.2);
            *colour = shade(hex(0xe2bd84), 0.9 + 0.16 * grain);
        }
        // Letters 1.45 times their size.
        let letter = Point::new(((u - 4.0) / 1.45).floor() as i32, ((v - 1.5) / 1.45).floor() as i32);
        if letter.x >= 0 && letter.y >= 0 && letter.x < 64 && letter.y < 64 && inside(2.4) {
            if let Some(BinaryColor::On) = self.letters.get_pixel(letter) {
                *colour = hex(0x3a2717);
            }
        }
    }
}
