//! The land: hills, the path, the windmill, pines.

use std::f32::consts::PI;

use super::tools::*;

pub fn meadow_line(x: f32) -> f32 {
    292.0 + 12.0 * (x / 118.0 + 0.6).sin() + 5.0 * (x / 47.0).sin()
}

pub fn hills(x: f32, y: f32, colour: &mut Colour) {
    let back = 258.0 + 17.0 * (x / 96.0 + 2.4).sin();
    if y > back {
        // Furrows that meet in a point behind the hill.
        let turn = (x - 330.0) / (y - 205.0);
        let furrow = (turn * 9.0).rem_euclid(1.0) < 0.5;
        let field = if furrow { hex(0xc6b45c) } else { hex(0xab9c48) };
        let field = if !(185.0..=440.0).contains(&x) {
            hex(0x93b05a)
        } else {
            field
        };
        *colour = mix(field, hex(0xd8d59b), step(40.0, 0.0, y - back) * 0.5);
    }
    if y > meadow_line(x) {
        let depth = (y - meadow_line(x)) / 190.0;
        let grass = mix(hex(0x8fbf4d), hex(0x3f7d33), depth);
        // Blades: columns of uneven height, larger towards the viewer.
        let size = 3.0 + 5.0 * depth;
        let (i, j) = (
            (x / size * 2.2).floor() as i32,
            (y / size / 2.2).floor() as i32,
        );
        *colour = shade(grass, 0.93 + 0.16 * hash(i, j) * (0.35 + depth));
    }
}

pub fn path_middle(y: f32) -> f32 {
    let t = (y - 380.0) / 100.0;
    172.0 + 150.0 * t * t + 26.0 * (t * 3.4).sin()
}

pub fn path(x: f32, y: f32, colour: &mut Colour) {
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
        *colour = if stone {
            shade(hex(0xcbbfa8), grey)
        } else {
            hex(0x8a7c62)
        };
    } else if across.abs() < 1.06 {
        *colour = hex(0x5d6b35);
    }
}

pub fn windmill(x: f32, y: f32, colour: &mut Colour) {
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
            let lattice = (along / 7.0).rem_euclid(1.0) < 0.22
                || (aside - 9.6).abs() < 1.4
                || (aside - 5.0).abs() < 0.8;
            *colour = if lattice {
                hex(0x6b4a33)
            } else {
                hex(0xf7efdf)
            };
        }
        if (0.0..56.0).contains(&along) && aside.abs() < 1.6 {
            *colour = hex(0x4e3524);
        }
    }
    if in_circle(x, y, (cx, cap - 2.0), 3.6) {
        *colour = hex(0x2e2019);
    }
}

pub fn pines(x: f32, y: f32, colour: &mut Colour) {
    for (cx, foot, size) in [
        (22.0, 306.0, 66.0),
        (52.0, 312.0, 84.0),
        (272.0, 300.0, 58.0),
        (300.0, 304.0, 42.0),
    ] {
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
