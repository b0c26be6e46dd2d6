//! Any bytes as a picture, prepared in ways that the first byte chooses.
#![no_main]

use fast_image_resize::Resizer;
use gemmconv::Layout;
use gemmconv::data::picture::open;
use gemmconv::data::prepare::{Fit, Preset};
use libfuzzer_sys::fuzz_target;

/// Bytes that decoding may take.
const LIMIT: u64 = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let choice = usize::from(choice);
    let preset = Preset::ALL[choice % Preset::ALL.len()];
    let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][choice / 8 % 2];
    let mut prepare = preset
        .prepare(Some((5, 7)), None, layout)
        .expect("a size is given");
    prepare.fit = [Fit::Stretch, Fit::Crop(1.0), Fit::Crop(0.3)][choice / 16 % 3];
    let Ok(image) = open(bytes, LIMIT).and_then(|opened| opened.decode()) else {
        return;
    };
    let mut out = vec![f32::NAN; prepare.check().expect("a preset")];
    prepare
        .run(image, &mut Resizer::new(), &mut out)
        .expect("a decoded picture can be prepared");
    assert!(out.iter().all(|value| value.is_finite()));
});
