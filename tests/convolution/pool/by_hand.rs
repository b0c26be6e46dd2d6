//! Tables worked by hand, and the cases where libraries differ.

use gemmconv::pool::*;
use gemmconv::{Error, Layout, PoolGeometry, PoolOptions};
use ndarray::{Array3, Array4, Array5, ArrayD, IxDyn, arr3};

use super::in_layout;

#[test]
fn maximum_by_hand() {
    // The two 4s are equal: the first one, at 1, wins. So does the first 9, at 9.
    let x = arr3(&[[
        [1.0, 4.0, 2.0, 4.0],
        [3.0, 0.0, 1.0, 1.0],
        [7.0, 9.0, 9.0, 8.0],
    ]]);
    let x = x.insert_axis(ndarray::Axis(0));
    let (y, indices) = max_pool_with_indices(&x, &PoolOptions::new([2, 3]).stride(1)).unwrap();
    assert_eq!(y, ndarray::array![[[[4.0, 4.0], [9.0, 9.0]]]]);
    assert_eq!(indices, ndarray::array![[[[1, 1], [9, 9]]]]);
    let dy = ndarray::array![[[[1.0, 10.0], [100.0, 1000.0]]]];
    let dx = max_pool_backward(
        &dy,
        &indices,
        x.shape(),
        &PoolOptions::new([2, 3]).stride(1),
    )
    .unwrap();
    assert_eq!(
        (dx[[0, 0, 0, 1]], dx[[0, 0, 2, 1]], dx.sum()),
        (11.0, 1100.0, 1111.0)
    );
}

#[test]
fn padding_never_wins() {
    let x = Array3::<f32>::from_elem((1, 1, 3), -5.0);
    let y = max_pool(&x, &PoolOptions::new(3).stride(1).padding(1)).unwrap();
    assert_eq!(y.as_slice().unwrap(), [-5.0; 3]);
    let bottom = Array3::<f64>::from_elem((1, 1, 3), f64::NEG_INFINITY);
    let (y, indices) =
        max_pool_with_indices(&bottom, &PoolOptions::new(2).stride(1).padding(1)).unwrap();
    assert_eq!(y.as_slice().unwrap(), [f64::NEG_INFINITY; 4]);
    assert_eq!(indices.as_slice().unwrap(), [0, 0, 1, 2]);
}

#[test]
fn a_nan_wins_and_the_first_one_is_named() {
    let nan = f32::NAN;
    let x = arr3(&[[[1.0, nan, 9.0, f32::INFINITY, nan, nan]]]);
    let (y, indices) = max_pool_with_indices(&x, &PoolOptions::new(3)).unwrap();
    assert!(y.iter().all(|value| value.is_nan()));
    assert_eq!(indices.as_slice().unwrap(), [1, 4]);
    // In both orders of the windows' iteration.
    let (y, indices) = global_max_pool(&x, Layout::ChannelsFirst).unwrap();
    assert!(y[[0, 0, 0]].is_nan());
    assert_eq!(indices[[0, 0, 0]], 1);
    assert!(
        avg_pool(&x, &PoolOptions::new(3))
            .unwrap()
            .iter()
            .all(|value| value.is_nan())
    );
    assert!(
        lp_pool(&x, 2.0, &PoolOptions::new(3))
            .unwrap()
            .iter()
            .all(|value| value.is_nan())
    );
}

/// • a b • with three taps: 0+1+2, 1+2+0; then what ceil mode lets hang over.
#[test]
fn averages_by_hand() {
    let x = arr3(&[[[1.0, 2.0]]]);
    let options = PoolOptions::new(3).stride(1).padding(1);
    let y = |x: &Array3<f64>, options: &PoolOptions| {
        avg_pool(x, options).unwrap().into_raw_vec_and_offset().0
    };
    assert_eq!(y(&x, &options), [1.0, 1.0]);
    assert_eq!(y(&x, &options.clone().count_include_pad(false)), [1.5, 1.5]);
    assert_eq!(y(&x, &options.clone().divisor_override(-2)), [-1.5, -1.5]);
    // 1 2 3 4 5 in twos: the last window holds 5 alone, and its divisor is 1, padding or not.
    let x = arr3(&[[[1.0, 2.0, 3.0, 4.0, 5.0]]]);
    let options = PoolOptions::new(2).ceil_mode(true);
    assert_eq!(y(&x, &options), [1.5, 3.5, 5.0]);
    // With one element of padding behind, that is counted, unless told otherwise.
    let options = options.padding([(0, 1)]);
    assert_eq!(y(&x, &options), [1.5, 3.5, 2.5]);
    assert_eq!(y(&x, &options.count_include_pad(false)), [1.5, 3.5, 5.0]);
    let dx = avg_pool_backward(
        &arr3(&[[[4.0, 6.0, 8.0]]]),
        &[1, 1, 5],
        &PoolOptions::new(2).ceil_mode(true),
    );
    assert_eq!(dx.unwrap().as_slice().unwrap(), [2.0, 2.0, 3.0, 3.0, 8.0]);
}

#[test]
fn norms_by_hand() {
    let x = arr3(&[[[3.0f32, -4.0, 0.0, 0.0, -1.0, 2.0]]]);
    let norms = |p| {
        lp_pool(&x, p, &PoolOptions::new(2))
            .unwrap()
            .into_raw_vec_and_offset()
            .0
    };
    assert_eq!(norms(1.0), [7.0, 0.0, 3.0]);
    assert_eq!(norms(2.0), [5.0, 0.0, 5.0f32.sqrt()]);
    assert_eq!(
        norms(3.0),
        [91.0f64.cbrt() as f32, 0.0, 9.0f64.cbrt() as f32]
    );
    // Powers beyond f32, norms within it.
    let large = arr3(&[[[3e30f32, 4e30, 3e-30, 4e-30]]]);
    assert_eq!(
        lp_pool(&large, 2.0, &PoolOptions::new(2))
            .unwrap()
            .as_slice()
            .unwrap(),
        [5e30, 5e-30]
    );
    // Where the norm is zero there is no gradient: zero is given.
    let y = lp_pool(&x, 2.0, &PoolOptions::new(2)).unwrap();
    let dx = lp_pool_backward(
        &x,
        &y,
        &arr3(&[[[5.0, 1.0, 0.0]]]),
        2.0,
        &PoolOptions::new(2),
    )
    .unwrap();
    assert_eq!(dx.as_slice().unwrap(), [3.0, -4.0, 0.0, 0.0, 0.0, 0.0]);
}

/// A window that dilation carries over a one-element image.
#[test]
fn windows_without_elements() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let options = PoolOptions::new(2)
            .stride(1)
            .dilation(3)
            .padding(3)
            .count_include_pad(false)
            .layout(layout);
        let x = Array3::<f64>::from_elem((1, 1, 1), 7.0);
        let (y, indices) = max_pool_with_indices(&x, &options).unwrap();
        assert_eq!(
            y.as_slice().unwrap(),
            [7.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 7.0]
        );
        assert_eq!(indices.as_slice().unwrap(), [0, NO_ELEMENT, NO_ELEMENT, 0]);
        let dy = y.mapv(|_| 1.0);
        assert_eq!(
            max_pool_backward(&dy, &indices, &[1, 1, 1], &options).unwrap()[[0, 0, 0]],
            2.0
        );
        assert_eq!(
            avg_pool(&x, &options).unwrap().as_slice().unwrap(),
            [7.0, 0.0, 0.0, 7.0]
        );
        assert_eq!(
            avg_pool_backward(&dy, &[1, 1, 1], &options).unwrap()[[0, 0, 0]],
            2.0
        );
        let norm = lp_pool(&x, 2.0, &options).unwrap();
        assert_eq!(norm.as_slice().unwrap(), [7.0, 0.0, 0.0, 7.0]);
        assert_eq!(
            lp_pool_backward(&x, &norm, &dy, 2.0, &options).unwrap()[[0, 0, 0]],
            2.0
        );
        // Only those windows may go without an index.
        let all = indices.mapv(|_| NO_ELEMENT);
        let error = max_pool_backward(&dy, &all, &[1, 1, 1], &options).unwrap_err();
        assert_eq!(
            error,
            Error::Index {
                index: NO_ELEMENT,
                position: 0,
                limit: 1
            }
        );
    }
}

#[test]
fn unpooling_undoes_pooling_without_overlap() {
    let mut rng = fastrand::Rng::with_seed(4);
    for (shape, outputs) in [
        (vec![2, 3, 9], vec![9]),
        (vec![1, 70, 6, 5], vec![6, 5]),
        (vec![2, 2, 4, 4, 5], vec![4, 4, 5]),
    ] {
        let x = ArrayD::from_shape_simple_fn(IxDyn(&shape), || 1.0 + rng.f64());
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let options = PoolOptions::new(2).layout(layout);
            let image = in_layout(&x, layout);
            let (y, indices) = max_pool_with_indices(&image, &options).unwrap();
            let back = max_unpool(&y, &indices, outputs.as_slice(), layout).unwrap();
            // What came back is a maximum in its place, everything else zero; pooled again it is the same.
            assert!(
                back.iter()
                    .zip(image)
                    .all(|(&back, &x)| back == 0.0 || back == x)
            );
            assert_eq!(back.iter().filter(|&&value| value != 0.0).count(), y.len());
            assert_eq!(
                max_pool_with_indices(&back, &options).unwrap(),
                (y.clone(), indices.clone())
            );
            // ⟨unpool y, g⟩ = ⟨y, backward g⟩
            let g = back.mapv(|_| rng.f64());
            let d_y = max_unpool_backward(&g, &indices, layout).unwrap();
            let (left, right) = ((&back * &g).sum(), (&y * &d_y).sum());
            assert!((left - right).abs() <= 1e-12 * left.abs());
        }
    }
    // The last of several values at one index stays.
    let (x, indices) = (arr3(&[[[1.0f32, 2.0]]]), arr3(&[[[3, 3]]]));
    let y = max_unpool(&x, &indices, 4, Layout::ChannelsFirst).unwrap();
    assert_eq!(y.as_slice().unwrap(), [0.0, 0.0, 0.0, 2.0]);
}

#[test]
fn every_rank_has_its_array_type() {
    let line = max_pool(&Array3::<f32>::ones((1, 2, 6)), &PoolOptions::new(2)).unwrap();
    let image: Array4<f32> = avg_pool(&Array4::ones((1, 2, 6, 6)), &PoolOptions::new(2)).unwrap();
    let volume: Array5<f64> =
        lp_pool(&Array5::ones((1, 2, 6, 6, 6)), 1.0, &PoolOptions::new(2)).unwrap();
    assert_eq!(
        (line.shape(), image.shape()),
        ([1, 2, 3].as_slice(), [1, 2, 3, 3].as_slice())
    );
    assert_eq!(
        (volume.shape(), volume[[0, 1, 2, 2, 2]]),
        ([1, 2, 3, 3, 3].as_slice(), 8.0)
    );
}

/// Slices with rubbish in them: `_into` writes every element.
#[test]
fn what_stood_in_the_output_does_not_matter() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let shape = layout.shape(2, 70, &[6, 7]);
        let x: Vec<f64> = (0..2 * 70 * 42).map(|i| f64::from(i * 37 % 101)).collect();
        for options in [
            PoolOptions::new(3).stride(2).padding(1),
            PoolOptions::new(2).stride(4),
            PoolOptions::new(6).stride(1),
        ] {
            let geometry = PoolGeometry::new(&shape, &options.layout(layout)).unwrap();
            let outputs = geometry.output_len();
            let run = |rubbish: f64, index: usize| {
                let [mut y, mut average, mut norm] = [(); 3].map(|()| vec![rubbish; outputs]);
                let mut indices = vec![index; outputs];
                let [mut d_max, mut d_average, mut d_norm] =
                    [(); 3].map(|()| vec![rubbish; x.len()]);
                max_pool_with_indices_into(&geometry, &x, &mut y, &mut indices).unwrap();
                avg_pool_into(&geometry, &x, &mut average).unwrap();
                lp_pool_into(&geometry, 3.0, &x, &mut norm).unwrap();
                max_pool_backward_into(&geometry, &indices, &y, &mut d_max).unwrap();
                avg_pool_backward_into(&geometry, &y, &mut d_average).unwrap();
                lp_pool_backward_into(&geometry, 3.0, &x, [&norm, &y], &mut d_norm).unwrap();
                (indices, [y, average, norm, d_max, d_average, d_norm])
            };
            let clean = run(0.0, 0);
            assert!(clean.1.iter().flatten().all(|value| value.is_finite()));
            assert_eq!(run(f64::NAN, 12345), clean);
        }
    }
}
