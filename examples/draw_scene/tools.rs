//! Colours, steps, noise and simple shapes.

/// Red, green, blue, 0 to 1.
pub type Colour = [f32; 3];

pub fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

pub fn shade(colour: Colour, factor: f32) -> Colour {
    colour.map(|value| (value * factor).clamp(0.0, 1.0))
}

pub fn hex(code: u32) -> Colour {
    [16, 8, 0].map(|shift| ((code >> shift) & 255) as f32 / 255.0)
}

/// 0 before `from`, 1 after `to`, smooth between.
pub fn step(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

pub fn in_circle(x: f32, y: f32, centre: (f32, f32), radius: f32) -> bool {
    (x - centre.0).hypot(y - centre.1) < radius
}

/// The distance from the line segment between `a` and `b`.
pub fn from_segment(x: f32, y: f32, a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = (((x - a.0) * dx + (y - a.1) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (x - a.0 - along * dx).hypot(y - a.1 - along * dy)
}

/// A number in 0..1 that looks random and belongs to the cell (i, j).
pub fn hash(i: i32, j: i32) -> f32 {
    let mut bits = (i as u32).wrapping_mul(0x9e37_79b1) ^ (j as u32).wrapping_mul(0x85eb_ca77);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    ((bits ^ (bits >> 15)) >> 8) as f32 / 16_777_216.0
}

/// Smooth noise in 0..1: the numbers of the four cells around, blended.
pub fn noise(x: f32, y: f32) -> f32 {
    let (i, j) = (x.floor() as i32, y.floor() as i32);
    let (s, t) = (step(0.0, 1.0, x - x.floor()), step(0.0, 1.0, y - y.floor()));
    let blend = |a: f32, b: f32, share: f32| a + (b - a) * share;
    blend(
        blend(hash(i, j), hash(i + 1, j), s),
        blend(hash(i, j + 1), hash(i + 1, j + 1), s),
        t,
    )
}

/// Straight lines through `points`, sorted by x.
pub fn ridge(points: &[(f32, f32)], x: f32) -> f32 {
    let next = points
        .partition_point(|point| point.0 <= x)
        .clamp(1, points.len() - 1);
    let (a, b) = (points[next - 1], points[next]);
    a.1 + (b.1 - a.1) * ((x - a.0) / (b.0 - a.0)).clamp(0.0, 1.0)
}
