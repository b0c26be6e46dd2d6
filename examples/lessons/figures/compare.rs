//! Whether a figure is still the one that was kept: numbers and pixels may differ by rounding, nothing else may.

use image::RgbImage;

/// How far a coordinate may be from what was kept, and a channel of a pixel.
const PIXEL: f64 = 1.0;
const LEVELS: u8 = 2;

/// Attributes whose numbers are no coordinates.
const EXACT: [&str; 3] = ["opacity", "font-size", "stroke-width"];

/// The first difference between two SVG pictures.
pub fn svg(drawn: &str, kept: &str) -> Option<String> {
    let parts = |text| -> Vec<(String, Vec<Token>)> { tags(text).collect() };
    let (drawn, kept) = (parts(drawn), parts(kept));
    for ((drawn_text, drawn), (kept_text, kept)) in drawn.iter().zip(&kept) {
        let same = |(a, b): (&Token, &Token)| match (a, b) {
            (Token::Number(a), Token::Number(b)) => (a - b).abs() <= PIXEL,
            (a, b) => a == b,
        };
        let tag = drawn.len() == kept.len() && drawn.iter().zip(kept).all(same);
        if !tag || drawn_text != kept_text {
            return Some(format!(
                "{drawn:?} {drawn_text:?}, kept {kept:?} {kept_text:?}"
            ));
        }
    }
    (drawn.len() != kept.len()).then(|| format!("{} tags, kept {}", drawn.len(), kept.len()))
}

/// A word of a tag.
#[derive(Debug, PartialEq)]
enum Token {
    Number(f64),
    Word(String),
}

/// Each tag in words, with the text behind it.
fn tags(picture: &str) -> impl Iterator<Item = (String, Vec<Token>)> {
    picture.split('<').skip(1).map(|part| {
        let (tag, text) = part.split_once('>').unwrap_or((part, ""));
        let mut attribute = "";
        let words = tag
            .split([' ', '"', ',', '\n'])
            .filter(|word| !word.is_empty());
        let tokens = words.map(|word| {
            if let Some(name) = word.strip_suffix('=') {
                attribute = name;
            }
            match word.parse() {
                Ok(value) if !EXACT.contains(&attribute) => Token::Number(value),
                _ => Token::Word(word.to_owned()),
            }
        });
        (text.trim().to_owned(), tokens.collect())
    })
}

/// The first difference between two pictures.
pub fn png(drawn: &RgbImage, kept: &RgbImage) -> Option<String> {
    if drawn.dimensions() != kept.dimensions() {
        let (drawn, kept) = (drawn.dimensions(), kept.dimensions());
        return Some(format!("{drawn:?} pixels, kept {kept:?}"));
    }
    let mut pixels = drawn.enumerate_pixels().zip(kept.pixels());
    pixels.find_map(|((x, y, drawn), kept)| {
        let mut channels = drawn.0.iter().zip(kept.0);
        let differs = channels.any(|(&a, b)| a.abs_diff(b) > LEVELS);
        differs.then(|| format!("pixel ({x}, {y}) is {:?}, kept {:?}", drawn.0, kept.0))
    })
}
