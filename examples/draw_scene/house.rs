//! The house: bricks, tiles, windows, a door, smoke.

use super::tools::*;

pub fn house(x: f32, y: f32, colour: &mut Colour) {
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
        *colour = shade(
            *colour,
            1.03 - 0.16 * step(middle, right, x) - 0.22 * step(22.0, 6.0, y - roof),
        );
    }
    // The roof: a band along both slopes, of overlapping tiles.
    let from_edge = y - roof;
    let overhang = (x - middle).abs() < middle - left + 16.0;
    if overhang && (-15.0..5.0).contains(&from_edge) {
        let along = (x - middle) / 7.0;
        let course = ((from_edge + 15.0) / 5.0).floor();
        let tile = (along + 0.5 * course).rem_euclid(1.0) - 0.5;
        let scallop = (from_edge + 15.0) / 5.0 - course
            > 0.98 - 0.9 * (0.25 - tile * tile).max(0.0).sqrt() * 2.0 + 0.55;
        let light = if x < middle { 1.1 } else { 0.84 };
        *colour = shade(
            hex(0xb5432f),
            light
                - 0.12 * course * 0.5
                - if scallop || tile.abs() > 0.44 {
                    0.28
                } else {
                    0.0
                },
        );
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
    if joint {
        mortar
    } else {
        shade(brick, 0.9 + 0.2 * hash(column.floor() as i32, row as i32))
    }
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
            *colour = if glint {
                hex(0xb9d7ea)
            } else {
                mix(hex(0x6f9fc4), hex(0x2f4d6b), (y - 309.0) / 38.0)
            };
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
    let arch =
        |half: f32| dx < half && (y > 336.0 || in_circle(x, y, (167.0, 336.0), half)) && y < 392.0;
    if arch(20.0) {
        *colour = hex(0xf3ead7);
    }
    if arch(16.0) {
        let board = ((x - 151.0) / 6.4).rem_euclid(1.0) < 0.16;
        *colour = shade(
            hex(0x2f6f73),
            if board {
                0.7
            } else {
                1.0 - 0.002 * (y - 320.0)
            },
        );
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
    *colour = mix(
        *colour,
        hex(0xf1eeea),
        0.75 * (1.0 - up) * step(1.0, 0.55, across),
    );
}
