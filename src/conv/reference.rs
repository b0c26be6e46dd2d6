//! The loops themselves: plain, slow, obviously right, the judge of everything else.
//!
//! ```text
//! y[n, o, p]       = Σ_{c, k} w[o, c, k] · x̄[n, g(o)·C/g + c, p·stride + k·dilation − pad]   (+ b[o])
//! dx[n, c, source] += w[o, c, k] · dy[n, o, p]       dw[o, c, k] += x̄[n, c, source] · dy[n, o, p]
//! ```
//!
//! x̄ is x with its padding around it, an explicit number: zero times infinity is NaN here too. With
//! `flips_kernel` the tap k reads weight `kernel − 1 − k`. Slices are in standard layout, weights
//! `[O, C/g, kernel…]`. Every function here panics where a slice is shorter than its geometry says.

use crate::element::Element;
use crate::geometry::{ConvGeometry, Layout};

/// Element strides of a batch: image, channel, and the three spatial axes.
struct Strides {
    image: usize,
    channel: usize,
    spatial: [usize; 3],
}

impl Strides {
    fn new(layout: Layout, channels: usize, [d, h, w]: [usize; 3]) -> Self {
        match layout {
            Layout::ChannelsFirst => Self {
                image: channels * d * h * w,
                channel: d * h * w,
                spatial: [h * w, w, 1],
            },
            Layout::ChannelsLast => Self {
                image: channels * d * h * w,
                channel: 1,
                spatial: [h * w * channels, w * channels, channels],
            },
        }
    }

    fn at(&self, n: usize, c: usize, [z, y, x]: [usize; 3]) -> usize {
        n * self.image
            + c * self.channel
            + z * self.spatial[0]
            + y * self.spatial[1]
            + x * self.spatial[2]
    }
}

fn input_strides(geometry: &ConvGeometry) -> Strides {
    Strides::new(
        geometry.layout(),
        geometry.input_channels(),
        geometry.patch.axes.map(|axis| axis.input),
    )
}

fn output_strides(geometry: &ConvGeometry) -> Strides {
    Strides::new(
        geometry.layout(),
        geometry.output_channels(),
        geometry.patch.axes.map(|axis| axis.output),
    )
}

/// Calls `visit(n, o, position)` for every output.
#[inline(always)]
fn for_each_output(geometry: &ConvGeometry, mut visit: impl FnMut(usize, usize, [usize; 3])) {
    let [d, h, w] = geometry.patch.axes.map(|axis| axis.output);
    for n in 0..geometry.batch() {
        for o in 0..geometry.output_channels() {
            for z in 0..d {
                for y in 0..h {
                    for x in 0..w {
                        visit(n, o, [z, y, x]);
                    }
                }
            }
        }
    }
}

/// Calls `visit(weight index, input index)` for every product of one output; no input inside constant padding.
// Always inlined, so that the loops run as if each function spelled them out.
#[inline(always)]
fn for_each_product(
    geometry: &ConvGeometry,
    strides: &Strides,
    n: usize,
    o: usize,
    position: [usize; 3],
    mut visit: impl FnMut(usize, Option<usize>),
) {
    let [d, h, w] = &geometry.patch.axes;
    let mode = geometry.patch.mode;
    let flip = |k: usize, kernel: usize| if geometry.flip { kernel - 1 - k } else { k };
    let channels = geometry.channels_per_group();
    let first = o / geometry.outputs_per_group() * channels;
    let taps = d.kernel * h.kernel * w.kernel;
    for kz in 0..d.kernel {
        let z = mode.source(d.position(kz, position[0]), d.input);
        for ky in 0..h.kernel {
            let y = mode.source(h.position(ky, position[1]), h.input);
            for kx in 0..w.kernel {
                let x = mode.source(w.position(kx, position[2]), w.input);
                let row = flip(kz, d.kernel) * h.kernel + flip(ky, h.kernel);
                let tap = row * w.kernel + flip(kx, w.kernel);
                // A tap lies in constant padding for all channels or for none.
                let pixel = match (z, y, x) {
                    (Some(z), Some(y), Some(x)) => Some(strides.at(n, first, [z, y, x])),
                    _ => None,
                };
                for c in 0..channels {
                    let weight = (o * channels + c) * taps + tap;
                    visit(weight, pixel.map(|pixel| pixel + c * strides.channel));
                }
            }
        }
    }
}

/// y ← conv(x, w) + b.
pub fn forward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    let pad = T::from_f64(geometry.patch.mode.constant());
    for_each_output(geometry, |n, o, position| {
        let mut sum = T::ZERO;
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            sum += w[weight] * source.map_or(pad, |index| x[index]);
        });
        y[output.at(n, o, position)] = sum + bias.map_or(T::ZERO, |bias| bias[o]);
    });
}

/// dx ← the gradient of the input.
pub fn backward_input<T: Element>(geometry: &ConvGeometry, w: &[T], dy: &[T], dx: &mut [T]) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    dx.fill(T::ZERO);
    for_each_output(geometry, |n, o, position| {
        let gradient = dy[output.at(n, o, position)];
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            if let Some(index) = source {
                dx[index] += w[weight] * gradient;
            }
        });
    });
}

/// dw ← the gradient of the weight.
pub fn backward_weight<T: Element>(geometry: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    let pad = T::from_f64(geometry.patch.mode.constant());
    dw.fill(T::ZERO);
    for_each_output(geometry, |n, o, position| {
        let gradient = dy[output.at(n, o, position)];
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            dw[weight] += source.map_or(pad, |index| x[index]) * gradient;
        });
    });
}

/// The number of a position among the P of an image, and what it means for locally connected weights `[P, O, K]`.
fn local_weight(geometry: &ConvGeometry, [z, y, x]: [usize; 3], weight: usize) -> usize {
    let [_, h, w] = &geometry.patch.axes;
    ((z * h.output + y) * w.output + x) * geometry.weight_len() + weight
}

/// y ← the locally connected layer of x with w `[P, O, K]` and b `[P, O]`.
pub fn local_forward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    let pad = T::from_f64(geometry.patch.mode.constant());
    for_each_output(geometry, |n, o, position| {
        let mut sum = T::ZERO;
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            sum +=
                w[local_weight(geometry, position, weight)] * source.map_or(pad, |index| x[index]);
        });
        let place = local_weight(geometry, position, 0) / geometry.patch_len() + o;
        y[output.at(n, o, position)] = sum + bias.map_or(T::ZERO, |bias| bias[place]);
    });
}

/// dx ← the gradient of a locally connected layer's input.
pub fn local_backward_input<T: Element>(geometry: &ConvGeometry, w: &[T], dy: &[T], dx: &mut [T]) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    dx.fill(T::ZERO);
    for_each_output(geometry, |n, o, position| {
        let gradient = dy[output.at(n, o, position)];
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            if let Some(index) = source {
                dx[index] += w[local_weight(geometry, position, weight)] * gradient;
            }
        });
    });
}

/// dw ← the gradient of a locally connected layer's weight, `[P, O, K]`.
pub fn local_backward_weight<T: Element>(geometry: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let (input, output) = (input_strides(geometry), output_strides(geometry));
    let pad = T::from_f64(geometry.patch.mode.constant());
    dw.fill(T::ZERO);
    for_each_output(geometry, |n, o, position| {
        let gradient = dy[output.at(n, o, position)];
        for_each_product(geometry, &input, n, o, position, |weight, source| {
            let place = local_weight(geometry, position, weight);
            dw[place] += source.map_or(pad, |index| x[index]) * gradient;
        });
    });
}

/// db ← the gradient of the bias, the sum of dy over images and positions.
pub fn backward_bias<T: Element>(geometry: &ConvGeometry, dy: &[T], db: &mut [T]) {
    let output = output_strides(geometry);
    db.fill(T::ZERO);
    for_each_output(geometry, |n, o, position| {
        db[o] += dy[output.at(n, o, position)]
    });
}
