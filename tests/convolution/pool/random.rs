//! Every operator against the judge: random geometries, large batches, adaptive and global windows.

use gemmconv::pool::*;
use gemmconv::{Element, Layout, PoolGeometry, PoolOptions};
use ndarray::{ArrayD, IxDyn};
use rayon::ThreadPool;

use super::judge::{Judge, Line, Sliding, adaptive_lines};
use super::{assert_within, channels_first, in_layout, pools, rounded, same_for_all};

pub struct Case {
    pub shape: Vec<usize>,
    pub axes: Vec<Sliding>,
    pub options: PoolOptions,
}

pub fn case(rng: &mut fastrand::Rng) -> Case {
    let rank = rng.usize(1..=3);
    let axes: Vec<Sliding> = (0..rank)
        .map(|_| {
            loop {
                let (kernel, dilation) = (rng.usize(1..=4), rng.usize(1..=3));
                let extent = dilation * (kernel - 1) + 1;
                let axis = Sliding {
                    input: rng.usize(1..=[24, 10, 7][rank - 1]),
                    kernel,
                    stride: rng.usize(1..=4),
                    dilation,
                    pad: (rng.usize(0..extent), rng.usize(0..extent)),
                    ceil: false,
                };
                if axis.pad.0 + axis.input + axis.pad.1 >= extent {
                    break axis;
                }
            }
        })
        .collect();
    let ceil = rng.bool();
    let axes: Vec<Sliding> = axes
        .into_iter()
        .map(|axis| Sliding { ceil, ..axis })
        .collect();
    let list = |value: fn(&Sliding) -> usize| axes.iter().map(value).collect::<Vec<usize>>();
    let pads: Vec<(usize, usize)> = axes.iter().map(|axis| axis.pad).collect();
    let mut options = PoolOptions::new(list(|axis| axis.kernel).as_slice())
        .stride(list(|axis| axis.stride).as_slice())
        .dilation(list(|axis| axis.dilation).as_slice())
        .padding(pads.as_slice())
        .ceil_mode(ceil)
        .count_include_pad(rng.bool());
    if rng.u8(..4) == 0 {
        options = options.divisor_override(if rng.bool() {
            rng.i64(1..9)
        } else {
            rng.i64(-9..0)
        });
    }
    let mut shape = vec![rng.usize(0..=2), rng.usize(1..=3)];
    shape.extend(list(|axis| axis.input));
    Case {
        shape,
        axes,
        options,
    }
}

/// Small integers: their sums are exact, so that averages round once and must agree bit for bit.
fn integers<T: Element>(rng: &mut fastrand::Rng, shape: &[usize]) -> ArrayD<T> {
    ArrayD::from_shape_simple_fn(IxDyn(shape), || T::from_f64(f64::from(rng.i8(-8..=8))))
}

fn check<T: Element>(rng: &mut fastrand::Rng, pools: &[ThreadPool], case: &Case, p: f64) {
    let lines: Vec<Vec<Line>> = case.axes.iter().map(Sliding::lines).collect();
    let judge = Judge::new(&case.shape, &lines);
    let x = integers::<T>(rng, &case.shape);
    let dy = integers::<T>(rng, &judge.output_shape);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let options = case.options.clone().layout(layout);
        let what = format!("{:?} {options:?}", case.shape);
        let geometry = PoolGeometry::new(in_layout(&x, layout).shape(), &options).unwrap();
        assert_eq!(geometry.outputs(), judge.output_shape[2..], "{what}");
        check_max(rng, pools, &judge, &x, &dy, &options);
        check_sums(pools, &judge, &x, &dy, &options);
        check_norm(pools, &judge, &x, &dy, p, &options);
    }
}

fn check_max<T: Element>(
    rng: &mut fastrand::Rng,
    pools: &[ThreadPool],
    judge: &Judge,
    x: &ArrayD<T>,
    dy: &ArrayD<T>,
    options: &PoolOptions,
) {
    let layout = options.layout;
    let what = format!("maximum of {:?} {options:?}", x.shape());
    let mut x = x.clone();
    if rng.bool() {
        // NaN and infinities in a fifth of the places.
        x.mapv_inplace(|value| match rng.u8(..15) {
            0 => T::NAN,
            1 => T::NEG_INFINITY,
            2 => -T::NEG_INFINITY,
            _ => value,
        });
    }
    let (image, dy_view) = (in_layout(&x, layout), in_layout(dy, layout));
    let y = same_for_all(pools, layout, || max_pool(&image, options));
    assert_within(&what, &y, &judge.max(&x).mapv(T::to_f64), 0.0);
    let expected = judge.argmax(&x);
    let planes = judge.windows.len();
    let (at, shares) = (expected.as_slice().unwrap(), dy.as_slice().unwrap());
    let share = |plane: usize, tap: usize, output: usize| {
        let position = plane * planes + output;
        if at[position] == tap {
            shares[position].to_f64()
        } else {
            0.0
        }
    };
    let d_input = judge.fold(x.shape(), share);
    for pool in pools {
        let (values, indices) = pool
            .install(|| max_pool_with_indices(&image, options))
            .unwrap();
        assert_within(
            &what,
            &channels_first(values, layout),
            &y.mapv(T::to_f64),
            0.0,
        );
        assert_eq!(channels_first(indices.clone(), layout), expected, "{what}");
        let dx = pool.install(|| max_pool_backward(&dy_view, &indices, image.shape(), options));
        assert_within(&what, &channels_first(dx.unwrap(), layout), &d_input, 0.0);
    }
}

fn check_sums<T: Element>(
    pools: &[ThreadPool],
    judge: &Judge,
    x: &ArrayD<T>,
    dy: &ArrayD<T>,
    options: &PoolOptions,
) {
    let layout = options.layout;
    let what = format!("average of {:?} {options:?}", x.shape());
    let (image, dy_view) = (in_layout(x, layout), in_layout(dy, layout));
    let y = same_for_all(pools, layout, || avg_pool(&image, options));
    assert_within(&what, &y, &rounded::<T>(&judge.average(x, options)), 0.0);
    let dx = same_for_all(pools, layout, || {
        avg_pool_backward(&dy_view, image.shape(), options)
    });
    let planes = judge.windows.len();
    let share = |plane: usize, _, output: usize| {
        let dy = dy.as_slice().unwrap()[plane * planes + output].to_f64();
        dy / Judge::divisor(&judge.windows[output], options)
    };
    // At most 64 shares of at most 8 each, in other orders.
    assert_within(&what, &dx, &judge.fold(x.shape(), share), 64.0 * 64.0);
}

fn check_norm<T: Element>(
    pools: &[ThreadPool],
    judge: &Judge,
    x: &ArrayD<T>,
    dy: &ArrayD<T>,
    p: f64,
    options: &PoolOptions,
) {
    let layout = options.layout;
    let what = format!("L{p} of {:?} {options:?}", x.shape());
    let (image, dy_view) = (in_layout(x, layout), in_layout(dy, layout));
    let y = same_for_all(pools, layout, || lp_pool(&image, p, options));
    let expected = judge.norm(x, p);
    assert_within(&what, &y, &expected, 16.0);
    let output = in_layout(&y, layout);
    let dx = same_for_all(pools, layout, || {
        lp_pool_backward(&image, &output, &dy_view, p, options)
    });
    let (planes, pixels) = (
        judge.windows.len(),
        x.shape()[2..].iter().product::<usize>(),
    );
    let share = |plane: usize, tap: usize, output: usize| {
        let position = plane * planes + output;
        let (x, y) = (
            x.as_slice().unwrap()[plane * pixels + tap].to_f64(),
            expected.as_slice().unwrap()[position],
        );
        if x == 0.0 {
            return 0.0;
        }
        dy.as_slice().unwrap()[position].to_f64() * x.signum() * (x.abs() / y).powf(p - 1.0)
    };
    assert_within(&what, &dx, &judge.fold(x.shape(), share), 64.0 * 64.0);
}

#[test]
fn random_geometries() {
    let (mut rng, pools) = (fastrand::Rng::with_seed(1), pools());
    for _ in 0..1500 {
        let (case, p) = (case(&mut rng), [1.0, 2.0, 3.0, 1.5][rng.usize(..4)]);
        check::<f32>(&mut rng, &pools, &case, p);
        check::<f64>(&mut rng, &pools, &case, p);
    }
}

/// Large enough to be shared between threads; channel counts around the 64 that one task takes.
#[test]
fn large_batches_on_one_and_two_threads() {
    let (mut rng, pools) = (fastrand::Rng::with_seed(2), pools());
    let square = |input, kernel, stride, pad, ceil| {
        let axis = Sliding {
            input,
            kernel,
            stride,
            dilation: 1,
            pad: (pad, pad),
            ceil,
        };
        vec![axis; 2]
    };
    for (batch, channels, axes) in [
        (1, 65, square(56, 3, 1, 1, false)),
        (2, 64, square(63, 3, 2, 0, true)),
        (3, 130, square(56, 2, 2, 0, false)),
        (1, 50, square(20, 18, 1, 3, false)),
    ] {
        let mut shape = vec![batch, channels];
        shape.extend(axes.iter().map(|axis| axis.input));
        let options = PoolOptions::new(axes[0].kernel)
            .stride(axes[0].stride)
            .padding(axes[0].pad.0)
            .ceil_mode(axes[0].ceil);
        let geometry = PoolGeometry::new(&shape, &options).unwrap();
        // What a second thread is woken for.
        assert!(
            geometry.operations() >= 1 << 20,
            "{}",
            geometry.operations()
        );
        let case = Case {
            shape,
            axes,
            options,
        };
        check::<f32>(&mut rng, &pools, &case, 2.0);
        rounded_sums(&mut rng, &pools, &case);
    }
}

/// Numbers whose sums are not exact: the order of the additions must not depend on the threads.
fn rounded_sums(rng: &mut fastrand::Rng, pools: &[ThreadPool], case: &Case) {
    let first = ArrayD::from_shape_simple_fn(IxDyn(&case.shape), || rng.f64() - 0.5);
    let outputs = PoolGeometry::new(&case.shape, &case.options)
        .unwrap()
        .output_shape();
    let gradient = ArrayD::from_shape_simple_fn(IxDyn(&outputs), || rng.f64() - 0.5);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let options = case.options.clone().layout(layout);
        let (x, dy) = (in_layout(&first, layout), in_layout(&gradient, layout));
        same_for_all(pools, layout, || avg_pool(&x, &options));
        same_for_all(pools, layout, || {
            avg_pool_backward(&dy, x.shape(), &options)
        });
        let y = same_for_all(pools, layout, || lp_pool(&x, 2.0, &options));
        let y = in_layout(&y, layout);
        same_for_all(pools, layout, || {
            lp_pool_backward(&x, &y, &dy, 2.0, &options)
        });
    }
}

#[test]
fn adaptive_and_global_windows() {
    let (mut rng, pools) = (fastrand::Rng::with_seed(3), pools());
    for round in 0..300 {
        let rank = rng.usize(1..=3);
        let mut shape = vec![rng.usize(0..=2), [1, 3, 64, 65, 129][rng.usize(..5)]];
        shape.extend((0..rank).map(|_| rng.usize(1..=7)));
        let global = round % 3 == 0;
        let outputs: Vec<usize> = (0..rank)
            .map(|_| if global { 1 } else { rng.usize(1..=9) })
            .collect();
        adaptive::<f32>(&mut rng, &pools, &shape, &outputs);
        adaptive::<f64>(&mut rng, &pools, &shape, &outputs);
    }
    adaptive::<f32>(&mut rng, &pools, &[2, 130, 70, 70], &[7, 6]);
    adaptive::<f32>(&mut rng, &pools, &[2, 130, 70, 70], &[1, 1]);
}

fn adaptive<T: Element>(
    rng: &mut fastrand::Rng,
    pools: &[ThreadPool],
    shape: &[usize],
    outputs: &[usize],
) {
    let lines: Vec<Vec<Line>> = shape[2..]
        .iter()
        .zip(outputs)
        .map(|(&input, &output)| adaptive_lines(input, output))
        .collect();
    let judge = Judge::new(shape, &lines);
    let (x, dy) = (
        integers::<T>(rng, shape),
        integers::<T>(rng, &judge.output_shape),
    );
    let exclude = PoolOptions::new(1).count_include_pad(false);
    let global = outputs.iter().all(|&output| output == 1);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let what = format!("{shape:?} to {outputs:?}, {}", layout.name());
        let (image, dy_view) = (in_layout(&x, layout), in_layout(&dy, layout));
        let average = same_for_all(pools, layout, || adaptive_avg_pool(&image, outputs, layout));
        assert_within(
            &what,
            &average,
            &rounded::<T>(&judge.average(&x, &exclude)),
            0.0,
        );
        let (y, indices) = adaptive_max_pool(&image, outputs, layout).unwrap();
        assert_eq!(channels_first(y.clone(), layout), judge.max(&x), "{what}");
        assert_eq!(
            channels_first(indices.clone(), layout),
            judge.argmax(&x),
            "{what}"
        );

        // Backward is the adjoint: ⟨average x, dy⟩ = ⟨x, backward dy⟩.
        let d_average = same_for_all(pools, layout, || {
            adaptive_avg_pool_backward(&dy_view, image.shape(), layout)
        });
        let dot = |a: &ArrayD<T>, b: &ArrayD<T>| -> f64 {
            a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
        };
        let scale = 1.0 + x.len().max(dy.len()) as f64 * 64.0;
        let gap = dot(&average, &dy) - dot(&x, &d_average);
        assert!(
            gap.abs() <= 64.0 * T::UNIT_ROUNDOFF * scale,
            "{what}: {gap}"
        );
        let d_max = adaptive_max_pool_backward(&dy_view, &indices, image.shape(), layout).unwrap();
        assert_eq!(
            d_max.iter().map(|d| d.to_f64()).sum::<f64>(),
            dy.iter().map(|d| d.to_f64()).sum::<f64>()
        );

        if global {
            assert_eq!(
                channels_first(global_avg_pool(&image, layout).unwrap(), layout),
                average
            );
            let d_global = global_avg_pool_backward(&dy_view, image.shape(), layout).unwrap();
            assert_eq!(channels_first(d_global, layout), d_average);
            assert_eq!(
                global_max_pool(&image, layout).unwrap(),
                (y, indices.clone())
            );
            let d_global =
                global_max_pool_backward(&dy_view, &indices, image.shape(), layout).unwrap();
            assert_eq!(d_global, d_max);
            let norm = channels_first(global_lp_pool(&image, 2.0, layout).unwrap(), layout);
            assert_within(&what, &norm, &judge.norm(&x, 2.0), 16.0);
        }
    }
}
