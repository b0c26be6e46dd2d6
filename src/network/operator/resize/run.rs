//! Resizing as it runs, an axis inside another.
//!
//! ```text
//! resize(x, y, axes):                      axes: those that change, outermost first; `inner` elements behind them
//!     for each output j of the first axis:
//!         nearest   resize(x[i[j]], y[j], the others); a copy of y[j − 1] where i[j] is the same
//!         else      line ← Σ w[j, k] · x[i[j, k]]         all that lies behind the axis, in scratch
//!                   resize(line, y[j], the others)
//! ```
//!
//! f32 is computed as such, with a lane of scratch for each thread. Other types are converted to f64 and back.

use super::super::Step;
use super::super::check::wrong;
use super::nearest::Nearest;
use super::taps::{Sampling, Taps};
use super::weighted::{Converted, Singles, Weighted};
use super::{Interpolation, ResizeOptions};
use crate::error::{Result, product};
use crate::network::tensor::DType;

/// The step for an input of type `dtype` and an output of `output` elements.
pub(super) fn step(
    dtype: DType,
    options: &ResizeOptions,
    samplings: &[Sampling],
    output: usize,
) -> Result<Box<dyn Step>> {
    let extrapolation = options.extrapolation_value;
    let Some(first) = samplings.iter().position(|axis| !axis.is_whole()) else {
        return Err(wrong("scales", "that change something", "1 each"));
    };
    let last = samplings
        .iter()
        .rposition(|axis| !axis.is_whole())
        .unwrap_or(first);
    let lengths = |axes: &[Sampling]| Vec::from_iter(axes.iter().map(|axis| axis.input));
    let inner = product("X", &lengths(&samplings[last + 1..]))?;
    let axes = match output {
        0 => Vec::new(),
        _ => samplings[first..=last]
            .iter()
            .map(|sampling| Taps::new(sampling, options))
            .collect::<Result<Vec<_>>>()?,
    };
    if let Interpolation::Nearest(_) = options.interpolation {
        return Ok(Box::new(Nearest {
            dtype,
            axes,
            inner,
            output,
            extrapolation,
        }));
    }
    Ok(match dtype {
        DType::F32 => {
            let weighted = Weighted::<f32>::new(&axes, inner, extrapolation)?;
            let lanes = crate::parallel::threads().min(8);
            let scratch = product("scratch", &[weighted.line, lanes])?;
            Box::new(Singles {
                weighted,
                scratch,
                output,
            })
        }
        _ => Box::new(Converted {
            dtype,
            weighted: Weighted::new(&axes, inner, extrapolation)?,
            output,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant, fact, floats, infer, integers, run_some};
    use super::super::{AspectRatio, Coordinates, NearestMode, Resize};
    use super::*;
    use crate::network::Tensor;
    use crate::network::operator::{Operator, Transpose};

    fn options(interpolation: Interpolation) -> ResizeOptions {
        ResizeOptions {
            interpolation,
            ..ResizeOptions::default()
        }
    }

    fn resized(options: &ResizeOptions, x: &Tensor, sizes: &[i64]) -> Tensor {
        let resize = Resize::new(options.clone());
        let sizes = integers(sizes);
        let inputs = [Some(x), None, None, Some(&sizes)];
        run_some(&resize, &inputs).unwrap().remove(0)
    }

    /// Element by element, by the tables.
    fn definition(
        options: &ResizeOptions,
        x: &[f64],
        shape: &[usize],
        sizes: &[usize],
    ) -> Vec<f64> {
        let taps: Vec<Taps> = (shape.iter().zip(sizes))
            .map(|(&from, &to)| Taps::new(&Sampling::sized(from, to).unwrap(), options).unwrap())
            .collect();
        let total: usize = sizes.iter().product();
        (0..total)
            .map(|flat| {
                let mut terms = vec![(0, 1.0)];
                for (axis, taps) in taps.iter().enumerate() {
                    let inner: usize = sizes[axis + 1..].iter().product();
                    let j = flat / inner % sizes[axis];
                    terms = terms
                        .iter()
                        .flat_map(|&(at, weight): &(usize, f64)| {
                            (j * taps.count..(j + 1) * taps.count).map(move |tap| {
                                (
                                    at * taps.input + taps.places[tap],
                                    weight * taps.weights[tap],
                                )
                            })
                        })
                        .collect();
                }
                terms.iter().map(|&(at, weight)| x[at] * weight).sum()
            })
            .collect()
    }

    #[test]
    fn all_modes_in_both_layouts() {
        let modes = [
            Interpolation::Nearest(NearestMode::RoundPreferFloor),
            Interpolation::Linear,
            Interpolation::Cubic(-0.75),
        ];
        for interpolation in modes {
            for (shape, sizes) in [
                (&[2, 3, 5, 7][..], &[2, 3, 10, 14][..]),
                (&[1, 5, 9, 8], &[1, 5, 4, 3]),
                (&[2, 2, 40, 30], &[2, 2, 61, 90]),
                (&[1, 20, 3, 4, 5], &[1, 20, 5, 4, 9]),
                (&[3, 4, 6], &[3, 7, 3]),
                (&[1, 2, 3, 1], &[1, 2, 3, 4]),
            ] {
                for antialias in [false, !matches!(interpolation, Interpolation::Nearest(_))] {
                    let options = ResizeOptions {
                        antialias,
                        ..options(interpolation)
                    };
                    let len: usize = shape.iter().product();
                    let values =
                        Vec::from_iter((0..len).map(|i| ((i * 7919) % 251) as f64 - 100.0));
                    let whole = Vec::from_iter(sizes.iter().map(|&size| size as usize));
                    let expected = definition(&options, &values, shape, &whole);
                    let x = floats(shape, values.iter().map(|&x| x as f32));
                    let first = resized(&options, &x, sizes);
                    let rank = shape.len();
                    let turn =
                        |to: Transpose, x: &Tensor| run_some(&to, &[Some(x)]).unwrap().remove(0);
                    let last = Resize::new(options.clone()).channels_last(&[Some(&fact(shape))]);
                    let turned = turn(Transpose::to_channels_last(rank), &x);
                    let list = integers(sizes);
                    let inputs = [Some(&turned), None, None, Some(&list)];
                    let last = run_some(&*last.unwrap(), &inputs).unwrap().remove(0);
                    let last = turn(Transpose::to_channels_first(rank), &last);
                    for y in [first, last] {
                        assert_eq!(y.shape(), whole);
                        for (&got, expected) in y.array::<f32>().unwrap().iter().zip(&expected) {
                            let error = (f64::from(got) - expected).abs();
                            assert!(error < 1e-3, "{got}, expected {expected}: {options:?}");
                        }
                    }
                }
            }
        }
    }

    /// Cases of the operator's specification.
    #[test]
    fn known_values() {
        let x = floats(&[1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0]);
        let mut linear = options(Interpolation::Linear);
        let y = resized(&linear, &x, &[1, 1, 4, 4]);
        let rows = [
            1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0,
        ];
        assert_eq!(y, floats(&[1, 1, 4, 4], rows));
        linear.coordinates = Coordinates::AlignCorners;
        let y = resized(&linear, &x, &[1, 1, 2, 3]);
        assert_eq!(y, floats(&[1, 1, 2, 3], [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]));
        let bytes: Tensor = ndarray::arr1(&[0u8, 255, 10]).into_dyn().into();
        let y = resized(&options(Interpolation::Cubic(-0.75)), &bytes, &[5]);
        assert_eq!(y, ndarray::arr1(&[0u8, 117, 255, 123, 0]).into_dyn().into());
    }

    #[test]
    fn regions_scales_and_bounds() {
        let crop = ResizeOptions {
            coordinates: Coordinates::CropAndResize,
            extrapolation_value: 9.0,
            axes: Some(vec![1]),
            ..options(Interpolation::Linear)
        };
        let x = floats(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let (roi, sizes) = (floats(&[2], [0.5, 1.5]), integers(&[3]));
        let inputs = [Some(&x), Some(&roi), None, Some(&sizes)];
        let y = run_some(&Resize::new(crop.clone()), &inputs).unwrap();
        assert_eq!(y[0], floats(&[2, 3], [2.0, 3.0, 9.0, 5.0, 6.0, 9.0]));
        let (x, sizes) = (fact(&[1, 1, 2, 4]), constant(&[1, 1, 7, 8]));
        let bound = |aspect_ratio| {
            let options = ResizeOptions {
                aspect_ratio,
                axes: Some(vec![2, 3]),
                ..ResizeOptions::default()
            };
            let inputs = [Some(&x), None, None, Some(&constant(&[7, 8]))].map(|fact| fact.cloned());
            let inputs = Vec::from_iter(inputs.iter().map(Option::as_ref));
            Resize::new(options).infer(&inputs).unwrap().remove(0).shape
        };
        assert_eq!(bound(AspectRatio::NotLarger), [1, 1, 4, 8]);
        assert_eq!(bound(AspectRatio::NotSmaller), [1, 1, 7, 14]);
        assert_eq!(bound(AspectRatio::Stretch), [1, 1, 7, 8]);
        let resize = Resize::new(ResizeOptions::default());
        assert!(infer(&resize, &[&x]).is_err());
        let scales = Fact::constant(std::sync::Arc::new(floats(&[4], [1.0; 4])));
        assert!(infer(&resize, &[&x, &scales, &scales, &sizes]).is_err());
        let region = Resize::new(crop);
        assert!(
            region
                .infer(&[Some(&x), None, None, Some(&constant(&[3]))])
                .is_err()
        );
        let huge = constant(&[1, 1, i64::MAX, 4]);
        assert!(resize.infer(&[Some(&x), None, None, Some(&huge)]).is_err());
    }

    use super::super::super::Fact;

    #[test]
    fn nothing_in_nothing_out() {
        let y = resized(
            &options(Interpolation::Linear),
            &floats(&[2, 0], []),
            &[4, 0],
        );
        assert_eq!(y.shape(), [4, 0]);
        let y = resized(
            &options(Interpolation::Linear),
            &floats(&[1, 2], [1.0, 2.0]),
            &[1, 0],
        );
        assert_eq!(y.shape(), [1, 0]);
    }
}
