//! Sizes around every vector and tile: channels, pixels, channels of a group.

use gemmconv::{Epilogue, Layout, Pass};

use super::layer::{Answers, Layer, Shape, Way, assert_same};
use crate::support::{LAYOUTS, pool};

/// Around vectors of 4, 8 and 16 lanes and panels of 2 and 3 vectors.
const CHANNELS: [usize; 13] = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49];

/// Around tiles of 4, 6, 9 and 14 rows, whole and cut in even halves.
const PIXELS: [usize; 12] = [1, 5, 6, 7, 8, 9, 13, 14, 15, 27, 28, 29];

/// Channels of a group, in and out.
const IN_GROUP: [usize; 7] = [1, 2, 3, 4, 5, 8, 16];

/// All passes of a layer by every native way, on buffers that hold NaN. Returns how many plans ran.
pub fn check(shape: &Shape, layout: Layout) -> usize {
    let layer = Layer::new(shape.geometry(layout), shape.outputs as u64);
    let expected = layer.answers();
    let ways = Way::native(&layer.geometry);
    for way in &ways {
        let got = pool(2).install(|| run(&layer, way));
        let name = |what| format!("{what}: {way}, {shape:?}, {}", layout.name());
        assert_same(&got.y, &expected.y, || name("y"));
        assert_same(&got.dx, &expected.dx, || name("dx"));
        assert_same(&got.dw, &expected.dw, || name("dw"));
        assert_same(&got.db, &expected.db, || name("db"));
    }
    ways.len()
}

fn run(layer: &Layer, way: &Way) -> Answers {
    let plan = way.plan(&layer.geometry);
    let weights = plan.prepare(&layer.weight()).unwrap();
    let of = |length: usize| vec![f32::NAN; length];
    let mut got = Answers {
        y: of(layer.dy.len()),
        dx: of(layer.x.len()),
        dw: of(layer.w.len()),
        db: of(layer.bias.len()),
    };
    let mut scratch = Pass::ALL.map(|pass| of(plan.scratch_len(pass)));
    let none = Epilogue::none();
    plan.forward_with_scratch(&layer.x, &weights, &none, &mut got.y, &mut scratch[0])
        .unwrap();
    plan.backward_input_with_scratch(&layer.dy, &weights, &mut got.dx, &mut scratch[1])
        .unwrap();
    let (dw, db) = (&mut got.dw, Some(&mut got.db[..]));
    plan.backward_weight_with_scratch(&layer.x, &layer.dy, dw, db, &mut scratch[2])
        .unwrap();
    got
}

/// Every number of output channels with every width of the image; the other sizes take turns.
#[test]
fn channels_and_pixels() {
    let mut turn = 0;
    let mut plans = 0;
    for outputs in CHANNELS {
        for width in PIXELS {
            for layout in LAYOUTS {
                turn += 1;
                let channels = CHANNELS[turn * 5 % CHANNELS.len()];
                let height = [1, 3, 2, 7][turn % 4];
                let (kernel, pad) =
                    [([3, 3], 1), ([1, 1], 0), ([1, 3], 1), ([5, 2], 2)][turn / 2 % 4];
                let shape = Shape::dense(channels, outputs, [height, width])
                    .kernel(kernel, pad)
                    .stride([1, 1, 2][turn % 3]);
                plans += check(&shape, layout);
            }
        }
    }
    assert!(plans >= 13 * 12 * 2 * 2, "{plans} plans");
}

/// Every number of input channels with every width, for the gradient of the image, whose lanes they are.
#[test]
fn channels_of_the_image_and_pixels() {
    let mut turn = 0;
    for channels in CHANNELS {
        for width in PIXELS {
            turn += 1;
            let outputs = [3, 18, 5][turn % 3];
            let shape = Shape::dense(channels, outputs, [[2, 1][turn % 2], width]);
            let shape = shape.stride([1, 2, 3][turn / 3 % 3]);
            check(&shape, LAYOUTS[turn % 2]);
        }
    }
}

/// One pixel, one channel, and a kernel larger than the image.
#[test]
fn the_smallest() {
    for layout in LAYOUTS {
        for batch in [1, 2, 17] {
            for (channels, outputs) in [(1, 1), (1, 16), (16, 1), (17, 33)] {
                for (kernel, pad) in [([1, 1], 0), ([3, 3], 1), ([5, 5], 2), ([2, 2], 1)] {
                    let shape = Shape::dense(channels, outputs, [1, 1]).kernel(kernel, pad);
                    check(&Shape { batch, ..shape }, layout);
                }
            }
        }
    }
}

/// Dilated kernels with every width: phases of several tiles, of one, and more of them than results.
#[test]
fn dilated() {
    let mut turn = 0;
    for dilation in [[1, 2], [2, 2], [3, 1], [2, 3], [5, 9]] {
        for width in PIXELS {
            for layout in LAYOUTS {
                turn += 1;
                let channels = CHANNELS[turn * 5 % CHANNELS.len()];
                let outputs = CHANNELS[turn * 3 % CHANNELS.len()];
                let height = [1, 3, 2, 11][turn % 4];
                let shape = Shape::dense(channels, outputs, [height, width]);
                check(&shape.dilation(dilation), layout);
            }
        }
    }
}

/// Every number of channels in and out a group; the number of groups and the width take turns.
#[test]
fn groups() {
    let mut turn = 0;
    let mut plans = 0;
    for channels in IN_GROUP {
        for outputs in IN_GROUP {
            for layout in LAYOUTS {
                for stride in [1, 2] {
                    turn += 1;
                    let groups = [2, 3, 4, 5, 7, 8, 16, 17, 32][turn % 9];
                    let width = PIXELS[turn % PIXELS.len()];
                    let (kernel, pad) = [([3, 3], 1), ([1, 1], 0), ([5, 5], 2)][turn % 3];
                    let shape = Shape::grouped(groups, channels, outputs, [4, width]);
                    plans += check(&shape.kernel(kernel, pad).stride(stride), layout);
                }
            }
        }
    }
    assert!(plans >= 7 * 7 * 2 * 2 * 3, "{plans} plans");
}

/// Depthwise: channels around the lanes of a vector with every width, stride 1 and 2.
#[test]
fn depthwise() {
    let mut turn = 0;
    for groups in [1, 2, 4, 7, 8, 9, 15, 16, 17, 32, 48, 64] {
        for width in PIXELS {
            for layout in LAYOUTS {
                turn += 1;
                let (kernel, pad) = [([3, 3], 1), ([5, 5], 2), ([3, 1], 1)][turn % 3];
                let shape = Shape::grouped(groups, 1, [1, 1, 2][turn % 3], [5, width]);
                check(&shape.kernel(kernel, pad).stride(1 + turn / 3 % 2), layout);
            }
        }
    }
}
