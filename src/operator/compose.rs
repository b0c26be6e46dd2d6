//! Two convolutions, one after the other, as one.
//!
//! ```text
//! u[m, p] = Σ w₁[m, c, k] · x[c, p · s₁ + k · d₁]        y[o, q] = Σ w₂[o, m, l] · u[m, q · s₂ + l · d₂]
//!
//! y[o, q] = Σ_c Σ_t K[o, c, t] · x[c, q · s₁s₂ + t]      K[o, c, k · d₁ + l · d₂ · s₁] += w₂[o, m, l] · w₁[m, c, k]
//!
//! stride   s₁ · s₂          extent   extent₁ + (extent₂ − 1) · s₁         padding   pad₁ + pad₂ · s₁
//! dilation the greatest common divisor of d₁ and d₂ · s₁, of those whose kernel has more than one tap
//! groups   the greatest common divisor of both
//! ```
//!
//! This is exact for every stride and dilation. What stands between the two can make it wrong: padding of the second
//! convolution is zeros in u, where the one kernel would see what the first makes of the edge of x. They are the same
//! where the first is padded with zeros by its extent − 1 at least (a *full* convolution), for then u is zero beyond
//! its ends anyway; a first kernel of one tap always is.

use ndarray::{Array, ArrayRef, Dimension};

use crate::element::{Element, filled, standard};
use crate::error::{Error, Result, check_shape, product, sum};
use crate::geometry::{ConvOptions, Padding, PaddingMode, PerAxis};

/// One axis of two convolutions.
struct Step {
    /// Taps of both, and the distances of their taps in pixels of x.
    taps: [usize; 2],
    distances: [usize; 2],
    stride: usize,
    dilation: usize,
    pad: (usize, usize),
    /// Taps of the result.
    kernel: usize,
}

/// The kernel and options of one convolution that does what two do: conv(conv(x, w₁), w₂) = conv(x, K).
///
/// `first` and `second` are a weight, `[O, C/g, kernel…]`, and its options each. K is `[O₂, C₁/g, kernel…]`, for
/// cross-correlation, whether the two flip their kernels or not. A bias b₁ of the first becomes Σ w₂ · b₁ of the
/// result, where the second has no padding. Composing pays where two kernels are small or make few channels;
/// between large ones it makes more work than it saves.
///
/// # Errors
/// Weights of two ranks, or of channels and groups that do not fit each other; a zero stride, dilation or length;
/// two layouts; `SAME` padding, which depends on the size of x; padding between the two that the one kernel cannot
/// have (see the file head); sizes beyond the address space.
///
/// ```
/// use gemmconv::{ConvOptions, conv1d, operator::compose};
/// use ndarray::array;
///
/// // Two differences are the second difference.
/// let (difference, options) = (array![[[-1., 1.]]], ConvOptions::new());
/// let (kernel, options) = compose((&difference, &options), (&difference, &options))?;
/// assert_eq!(kernel, array![[[1., -2., 1.]]]);
/// let squares = array![[[0., 1., 4., 9., 16.]]];
/// assert_eq!(conv1d(&squares, &kernel, None, &options)?, array![[[2., 2., 2.]]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn compose<T: Element, D: Dimension>(
    first: (&ArrayRef<T, D>, &ConvOptions),
    second: (&ArrayRef<T, D>, &ConvOptions),
) -> Result<(Array<T, D>, ConvOptions)> {
    let rank = first.0.ndim().saturating_sub(2);
    if !(1..=3).contains(&rank) {
        return Err(Error::SpatialRank { got: rank });
    }
    let groups = check_channels(first, second)?;
    if first.1.layout != second.1.layout {
        return Err(Error::OptionConflict {
            first: "channels first",
            second: "channels last in the next convolution",
        });
    }
    let steps: Vec<Step> = (0..rank)
        .map(|axis| Step::new(axis, first, second))
        .collect::<Result<_>>()?;

    let per_group = first.0.shape()[1] * (first.1.groups / groups);
    let mut dim = second.0.raw_dim();
    dim[1] = per_group;
    for (axis, step) in steps.iter().enumerate() {
        dim[2 + axis] = step.kernel;
    }
    let mut factors = dim.slice().to_vec();
    factors.push(size_of::<f64>());
    let length = product("composed kernel", &factors)? / size_of::<f64>();
    let mut kernel = filled(length, T::ZERO)?;
    add_products(first, second, groups, &steps, &mut kernel)?;
    let kernel = Array::from_shape_vec(dim, kernel).map_err(|_| Error::Overflow {
        what: "composed kernel",
    })?;

    let each = |number: fn(&Step) -> usize| -> PerAxis {
        let numbers: Vec<usize> = steps.iter().map(number).collect();
        numbers.as_slice().into()
    };
    let pads: Vec<(usize, usize)> = steps.iter().map(|step| step.pad).collect();
    let options = ConvOptions::new()
        .stride(each(|step| step.stride))
        .dilation(each(|step| step.dilation))
        .padding(pads.as_slice())
        .padding_mode(first.1.padding_mode)
        .groups(groups)
        .layout(first.1.layout);
    Ok((kernel, options))
}

/// `K[o, c, k · d₁ + l · d₂ · s₁] += w₂[o, m, l] · w₁[m, c, k]`, tap by tap.
fn add_products<T: Element, D: Dimension>(
    first: (&ArrayRef<T, D>, &ConvOptions),
    second: (&ArrayRef<T, D>, &ConvOptions),
    groups: usize,
    steps: &[Step],
    kernel: &mut [T],
) -> Result<()> {
    let (weights, next) = (standard(first.0)?, standard(second.0)?);
    let (middle, channels) = (first.0.shape()[0], first.0.shape()[1]);
    let (outputs, middles) = (second.0.shape()[0], second.0.shape()[1]);
    let all = |taps: fn(&Step) -> usize| -> usize { steps.iter().map(taps).product() };
    let (taps, next_taps, sums) = (
        all(|step| step.taps[0]),
        all(|step| step.taps[1]),
        all(|step| step.kernel),
    );
    let per_group = channels * (first.1.groups / groups);
    for o in 0..outputs {
        let group = o / (outputs / second.1.groups);
        for within in 0..middles {
            let m = group * middles + within;
            let first_group = m / (middle / first.1.groups);
            for l in 0..next_taps {
                let factor = next[(o * middles + within) * next_taps + l];
                let l = turned(l, next_taps, second.1.flip_kernel);
                for c in 0..channels {
                    // Among the channels of the group of the result.
                    let channel = first_group * channels % per_group + c;
                    let line = &mut kernel[(o * per_group + channel) * sums..][..sums];
                    for k in 0..taps {
                        let weight = weights[(m * channels + c) * taps + k];
                        let k = turned(k, taps, first.1.flip_kernel);
                        line[place(steps, k, l)] += factor * weight;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The tap that a weight stands for; all axes flipped is the row-major order reversed.
fn turned(tap: usize, taps: usize, flip: bool) -> usize {
    if flip { taps - 1 - tap } else { tap }
}

/// The tap of the result where tap `k` of the first and tap `l` of the second meet.
fn place(steps: &[Step], mut k: usize, mut l: usize) -> usize {
    let (mut place, mut size) = (0, 1);
    for step in steps.iter().rev() {
        let pixel = k % step.taps[0] * step.distances[0] + l % step.taps[1] * step.distances[1];
        place += pixel / step.dilation * size;
        size *= step.kernel;
        k /= step.taps[0];
        l /= step.taps[1];
    }
    place
}

/// The groups of the result.
fn check_channels<T, D: Dimension>(
    (first, options): (&ArrayRef<T, D>, &ConvOptions),
    (second, next): (&ArrayRef<T, D>, &ConvOptions),
) -> Result<usize> {
    if first.ndim() != second.ndim() {
        return Err(Error::Rank {
            what: "second weight",
            expected: first.ndim(),
            got: second.ndim(),
        });
    }
    for (what, weight, groups) in [
        (
            "output channels of the first convolution",
            first,
            options.groups,
        ),
        (
            "output channels of the second convolution",
            second,
            next.groups,
        ),
    ] {
        if groups == 0 {
            return Err(Error::ZeroCount { what: "groups" });
        }
        if weight.shape()[0] == 0 || weight.shape()[1] == 0 {
            return Err(Error::ZeroCount { what: "channels" });
        }
        if weight.shape()[0] % groups != 0 {
            return Err(Error::Groups {
                what,
                channels: weight.shape()[0],
                groups,
            });
        }
    }
    let read = product("input channels", &[second.shape()[1], next.groups])?;
    product("input channels", &[first.shape()[1], options.groups])?;
    let mut expected = second.shape().to_vec();
    if read != first.shape()[0] {
        expected[1] = first.shape()[0] / next.groups;
        check_shape("second weight", &expected, second.shape())?;
        // Groups that do not divide what the first makes.
        return Err(Error::Groups {
            what: "input channels of the second convolution",
            channels: first.shape()[0],
            groups: next.groups,
        });
    }
    Ok(divisor(options.groups, next.groups))
}

impl Step {
    fn new<T, D: Dimension>(
        axis: usize,
        (first, options): (&ArrayRef<T, D>, &ConvOptions),
        (second, next): (&ArrayRef<T, D>, &ConvOptions),
    ) -> Result<Self> {
        const WHAT: &str = "composed kernel";
        let rank = first.ndim() - 2;
        let of = |what: &'static str, values: &PerAxis| match values.get(what, rank, axis)? {
            0 => Err(Error::Zero { what, axis }),
            value => Ok(value),
        };
        let taps = [first.shape()[2 + axis], second.shape()[2 + axis]];
        if taps.contains(&0) {
            return Err(Error::Zero {
                what: "kernel",
                axis,
            });
        }
        let strides = [of("stride", &options.stride)?, of("stride", &next.stride)?];
        let distances = [
            of("dilation", &options.dilation)?,
            product(WHAT, &[of("dilation", &next.dilation)?, strides[0]])?,
        ];
        let reach = |which: usize| product(WHAT, &[taps[which] - 1, distances[which]]);
        let (before, all) = (reach(0)?, sum(WHAT, &[reach(0)?, reach(1)?])?);
        // A kernel of one tap has no distance.
        let distance = |which: usize| if taps[which] > 1 { distances[which] } else { 0 };
        let dilation = divisor(distance(0), distance(1)).max(1);

        let (pad, inner) = (padding(options, rank, axis)?, padding(next, rank, axis)?);
        let zeros = |mode: PaddingMode| !mode.reads_image() && mode.constant() == 0.0;
        for (outer, inner) in [(pad.0, inner.0), (pad.1, inner.1)] {
            let first_is_full = outer >= before && (outer == 0 || zeros(options.padding_mode));
            if inner > 0 && !(first_is_full && zeros(next.padding_mode)) {
                return Err(Error::Unsupported {
                    what: "one kernel for two convolutions",
                    wanted: "padding between them, where the first is not padded with zeros by its extent − 1",
                });
            }
        }
        let padded = |outer, inner| sum(WHAT, &[outer, product(WHAT, &[inner, strides[0]])?]);
        Ok(Self {
            taps,
            distances,
            stride: product(WHAT, &[strides[0], strides[1]])?,
            dilation,
            pad: (padded(pad.0, inner.0)?, padded(pad.1, inner.1)?),
            kernel: all / dilation + 1,
        })
    }
}

/// The padding of an axis whose input length is not known.
fn padding(options: &ConvOptions, rank: usize, axis: usize) -> Result<(usize, usize)> {
    match &options.padding {
        Padding::Valid => Ok((0, 0)),
        Padding::Explicit(pad) => pad.get("padding", rank, axis),
        Padding::SameUpper | Padding::SameLower => Err(Error::Unsupported {
            what: "one kernel for two convolutions",
            wanted: "SAME padding, which depends on the size of the input",
        }),
    }
}

/// The greatest common divisor; that of 0 and n is n.
fn divisor(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, Array4};

    fn refused(
        first: (&Array3<f32>, &ConvOptions),
        second: (&Array3<f32>, &ConvOptions),
    ) -> String {
        let composed = compose::<f32, _>((first.0, first.1), (second.0, second.1));
        composed.unwrap_err().to_string()
    }

    #[test]
    fn what_is_refused() {
        let options = ConvOptions::new();
        let (w, next) = (Array3::ones((4, 3, 3)), Array3::ones((2, 4, 3)));
        let padded = options.clone().padding(1);
        let message = refused((&w, &padded), (&next, &padded));
        assert!(message.contains("padding between them"), "{message}");
        let message = refused((&w, &options), (&next, &padded));
        assert!(message.contains("padding between them"), "{message}");
        // Full and zero on the one side that is padded next; then not zero.
        let full = options.clone().padding([(2, 0)]);
        let before = options.clone().padding([(1, 0)]);
        assert!(compose::<f32, _>((&w, &full), (&next, &before)).is_ok());
        let ones = full.padding_mode(PaddingMode::Constant(1.0));
        let message = refused((&w, &ones), (&next, &before));
        assert!(message.contains("padding between them"), "{message}");

        let same = options.clone().padding(Padding::SameUpper);
        let message = refused((&w, &same), (&next, &options));
        assert!(message.contains("SAME"), "{message}");
        assert_eq!(
            refused((&w, &options), (&Array3::ones((2, 5, 3)), &options)),
            "second weight has shape [2, 5, 3], expected [2, 4, 3]"
        );
        assert_eq!(
            refused(
                (&w, &options),
                (&Array3::ones((3, 1, 3)), &options.clone().groups(3))
            ),
            "3 groups do not divide 4 input channels of the second convolution"
        );
        assert_eq!(
            refused((&w, &options.clone().stride(0)), (&next, &options)),
            "stride is zero on axis 0"
        );
        assert_eq!(
            refused((&w, &options.clone().groups(3)), (&next, &options)),
            "3 groups do not divide 4 output channels of the first convolution"
        );
        assert!(refused((&w, &options.clone().groups(0)), (&next, &options)).contains("groups"));
        let huge = options.clone().dilation(usize::MAX / 2);
        assert!(refused((&w, &huge), (&next, &options)).contains("address space"));
        let empty = Array3::ones((4, 3, 0));
        assert_eq!(
            refused((&empty, &options), (&next, &options)),
            "kernel is zero on axis 0"
        );
        let four = Array4::<f32>::ones((1, 1, 1, 1));
        let error = compose::<f32, _>(
            (&four.view().into_dyn(), &options),
            (&w.view().into_dyn(), &options),
        );
        assert!(matches!(error, Err(Error::Rank { .. })));
    }

    /// Strides that multiply the distance of the next taps, with a common divisor or none.
    #[test]
    fn dilation_of_the_result() {
        let w = Array3::<f32>::ones((1, 1, 2));
        let dilation = |d1, s1, d2| {
            let (first, second) = (
                ConvOptions::new().dilation(d1).stride(s1),
                ConvOptions::new().dilation(d2),
            );
            let (kernel, options) = compose::<f32, _>((&w, &first), (&w, &second)).unwrap();
            (options.dilation, kernel.len())
        };
        assert_eq!(dilation(2, 2, 3), (PerAxis::from([2]), 5));
        assert_eq!(dilation(3, 2, 1), (PerAxis::from([1]), 6));
        assert_eq!(dilation(4, 3, 2), (PerAxis::from([2]), 6));
    }
}
