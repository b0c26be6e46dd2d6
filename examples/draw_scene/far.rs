//! What is far away: sky, clouds, birds, mountains, the balloon.

use std::f32::consts::{PI, TAU};

use super::tools::*;

pub fn sky(x: f32, y: f32) -> Colour {
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
    if distance < 38.0 {
        mix(hex(0xfff6d0), hex(0xffd257), distance / 38.0)
    } else {
        colour
    }
}

pub fn clouds(x: f32, y: f32, colour: &mut Colour) {
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
        let light = 0.86 + 0.3 * depth - 0.0008 * (y - 60.0).max(0.0);
        *colour = mix(*colour, shade(hex(0xffffff), light), 0.93);
    }
}

pub fn birds(x: f32, y: f32, colour: &mut Colour) {
    for (cx, cy, span) in [
        (338.0, 118.0, 11.0),
        (362.0, 104.0, 8.0),
        (318.0, 102.0, 7.0),
        (90.0, 40.0, 6.0),
    ] {
        let wing = (x - cx).abs() / span;
        let arc = cy - 0.62 * span * (wing * PI * 0.62).sin();
        if wing < 1.0 && (y - arc).abs() < 1.5 * (1.1 - wing) {
            *colour = hex(0x2a3440);
        }
    }
}

pub fn mountains(x: f32, y: f32, colour: &mut Colour) {
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
        let rock = if slope < 0.0 {
            hex(0x8ba0bd)
        } else {
            hex(0x6d84a8)
        };
        let jag = 6.0 * (noise(x / 7.0, 1.0) - 0.5) + 3.0 * ((x / 9.0).fract() - 0.5).abs();
        let snow = if slope < 0.0 {
            hex(0xf7f8fb)
        } else {
            hex(0xd5dfee)
        };
        let height = if y < 172.0 + jag { snow } else { rock };
        *colour = mix(height, hex(0xe9d9c4), step(150.0, 300.0, y));
    }
    if y > ridge(&NEAR, x) {
        *colour = mix(hex(0x58789a), hex(0xb9bfb0), step(210.0, 290.0, y));
    }
}

pub fn balloon(x: f32, y: f32, colour: &mut Colour) {
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
        let band = if (-9.0..3.0).contains(&dy) {
            hex(0x2e5d8c)
        } else {
            cloth
        };
        *colour = shade(
            band,
            1.04 - 0.26 * (dx / radius + 0.35).max(0.0) - 0.1 * (dy / radius).max(0.0),
        );
    }
    for side in [-1.0, 1.0] {
        if from_segment(
            x,
            y,
            (cx + side * 10.0, cy + 54.0),
            (cx + side * 6.0, cy + 70.0),
        ) < 0.7
        {
            *colour = hex(0x4a3b2c);
        }
    }
    if dx.abs() < 8.0 && (70.0..82.0).contains(&dy) {
        let weave = ((dx / 2.0).floor() + (dy / 2.0).floor()) as i32 % 2 == 0;
        *colour = if weave { hex(0x9a6b3b) } else { hex(0x7d5430) };
    }
}
