//! What is in front: the tree, the fence, flowers.

use super::land::path_middle;
use super::tools::*;

pub fn tree(x: f32, y: f32, colour: &mut Colour) {
    let trunk = 11.0 + 0.0022 * (y - 330.0).max(0.0).powi(2) - 0.02 * (y - 330.0);
    let bend = 3.0 * ((y - 260.0) / 40.0).sin();
    if (268.0..402.0).contains(&y) && (x - 446.0 - bend).abs() < trunk {
        let bark = noise((x - bend) / 2.6, y / 15.0);
        let round = 1.1 - 0.45 * ((x - 446.0 - bend) / trunk + 0.25).max(0.0);
        *colour = shade(hex(0x75523a), round * (0.72 + 0.5 * bark));
    }
    for (a, b) in [
        ((446.0, 306.0), (410.0, 262.0)),
        ((448.0, 298.0), (486.0, 256.0)),
    ] {
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
            let light =
                0.9 + 0.34 * ((x - cx) - (y - cy)) / radius / 1.4 - 0.12 * distance / radius;
            let leaf = noise(x / 2.7, y / 2.7) + 0.5 * noise(x / 6.0, y / 6.0);
            *colour = shade(hex(0x4f9140), light * (0.66 + 0.46 * leaf));
        }
    }
    for (index, (cx, cy)) in [
        (404.0, 228.0),
        (432.0, 192.0),
        (470.0, 212.0),
        (496.0, 240.0),
        (450.0, 248.0),
        (422.0, 258.0),
    ]
    .into_iter()
    .enumerate()
    {
        if in_circle(x, y, (cx, cy), 5.0) {
            *colour = shade(
                hex(0xd63d2e),
                1.1 - 0.06 * (x - cx - index as f32 * 0.2 + cy - y).abs(),
            );
        }
    }
}

pub fn fence(x: f32, y: f32, colour: &mut Colour) {
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
        let nail = [389.0, 424.0]
            .iter()
            .any(|rail| in_circle(aside, y, (0.0, rail + drop), 1.1));
        let grain = 0.03 * noise(x / 1.5, y / 18.0);
        let edge = if x > 352.0 + picket * pitch + 10.6 {
            0.8
        } else {
            0.985
        };
        *colour = if nail {
            hex(0x6d6a66)
        } else {
            shade(white, edge - grain)
        };
    }
}

pub fn flowers(x: f32, y: f32, colour: &mut Colour) {
    let (column, row) = ((x / 22.0).floor() as i32, (y / 17.0).floor() as i32);
    if !(24..28).contains(&row) || hash(column, row + 50) < 0.45 {
        return;
    }
    let cx = (column as f32 + 0.25 + 0.5 * hash(column, row)) * 22.0;
    let cy = (row as f32 + 0.3 + 0.4 * hash(row, column)) * 17.0;
    if ((cx - path_middle(cy)) / (19.0 + 0.34 * (cy - 378.0))).abs() < 1.0
        || (cx > 340.0 && cy < 454.0)
    {
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
