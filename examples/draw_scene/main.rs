//! Draws `docs/images/scene.png`, the picture that the repository ships to filter.
//!
//! ```text
//! cargo run --release --features cli --example draw_scene [FILE]
//! ```
//!
//! The picture is a function from a point to a colour, averaged over 6 × 6 points of every pixel. It holds
//! what filters answer to: straight edges at many angles (fence, roof, mountains, sails), circles and curves
//! (sun, balloon, crown, path), gradients (sky, hills), texture (bricks, tiles, leaves, furrows) and letters.
//! No file goes in, and nothing is random.

use std::error::Error;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};

use far::{balloon, birds, clouds, mountains, sky};
use front::{fence, flowers, tree};
use house::house;
use land::{hills, path, pines, windmill};
use sign::Sign;
use tools::Colour;

mod far;
mod front;
mod house;
mod land;
mod sign;
mod tools;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// Points a side of every pixel.
const SAMPLES: u32 = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "docs/images/scene.png".into());
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
    picture.write_with_encoder(PngEncoder::new_with_quality(
        file,
        CompressionType::Best,
        FilterType::Adaptive,
    ))?;
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
