//! Whatever is wrong is a typed error: never a panic, a hang, a wrong number.

use gemmconv::pool::*;
use gemmconv::{Error, Layout, Padding, PoolGeometry, PoolOptions};
use ndarray::{Array3, Array4, ArrayD, IxDyn};

#[test]
fn empty_batches_give_empty_results() {
    for shape in [[0, 3, 8, 8], [2, 0, 8, 8]] {
        let x = Array4::<f32>::zeros(shape);
        let (y, indices) = max_pool_with_indices(&x, &PoolOptions::new(2)).unwrap();
        assert_eq!(
            (y.shape(), indices.shape()),
            ([shape[0], shape[1], 4, 4].as_slice(), y.shape())
        );
        let options = PoolOptions::new(2);
        assert_eq!(
            max_pool_backward(&y, &indices, &shape, &options)
                .unwrap()
                .shape(),
            shape
        );
        assert_eq!(
            avg_pool_backward(&avg_pool(&x, &options).unwrap(), &shape, &options)
                .unwrap()
                .shape(),
            shape
        );
        assert_eq!(
            global_avg_pool(&x, Layout::ChannelsFirst).unwrap().shape(),
            [shape[0], shape[1], 1, 1]
        );
        assert_eq!(
            max_unpool(&y, &indices, 8, Layout::ChannelsFirst)
                .unwrap()
                .shape(),
            shape
        );
    }
}

#[test]
fn bad_input_is_a_typed_error() {
    let x = Array4::<f32>::ones((1, 2, 4, 4));
    let options = PoolOptions::new(2);
    let first = Layout::ChannelsFirst;
    // kernel > padded input, stride 0, dilation 0, padding ≥ extent
    let too_large = max_pool(&x, &PoolOptions::new(5)).unwrap_err();
    assert_eq!(
        too_large,
        Error::KernelTooLarge {
            axis: 0,
            extent: 5,
            padded: 4
        }
    );
    let zero = |what| Error::Zero { what, axis: 0 };
    assert_eq!(
        avg_pool(&x, &options.clone().stride(0)).unwrap_err(),
        zero("stride")
    );
    assert_eq!(
        lp_pool(&x, 2.0, &options.clone().dilation(0)).unwrap_err(),
        zero("dilation")
    );
    assert_eq!(
        max_pool(&x, &options.clone().padding(2)).unwrap_err(),
        Error::PoolPadding {
            axis: 0,
            pad: 2,
            extent: 2
        }
    );
    // No pixels: an error, padded or not, adaptive and global too.
    let none = Array4::<f32>::ones((1, 2, 0, 4));
    assert_eq!(
        max_pool(&none, &options.clone().padding(1)).unwrap_err(),
        zero("input")
    );
    assert_eq!(global_avg_pool(&none, first).unwrap_err(), zero("input"));
    assert_eq!(
        adaptive_max_pool(&none, 2, first).unwrap_err(),
        zero("input")
    );
    assert_eq!(
        adaptive_avg_pool(&x, 0, first).unwrap_err(),
        zero("output size")
    );
    // 2⁴⁰ and 2⁶² elements of padding
    assert_eq!(
        max_pool(&x, &options.clone().padding(1 << 40)).unwrap_err(),
        Error::PoolPadding {
            axis: 0,
            pad: 1 << 40,
            extent: 2
        }
    );
    assert!(matches!(
        max_pool(&x, &options.clone().padding(1 << 62)),
        Err(Error::Overflow { .. })
    ));
    let wide = PoolOptions::new(1 << 45).stride(1).padding((1 << 45) - 1);
    assert!(matches!(
        avg_pool(&Array3::<f64>::ones((1, 1, 1)), &wide),
        Err(Error::Allocation { .. } | Error::Overflow { .. })
    ));
    // A huge kernel with one output is as much work as the image.
    let one = PoolOptions::new(1 << 60)
        .stride(1 << 61)
        .padding((1 << 60) - 1)
        .count_include_pad(false);
    assert_eq!(
        avg_pool(&Array3::<f64>::ones((1, 1, 1)), &one).unwrap()[[0, 0, 0]],
        1.0
    );
    // Divisor and exponent
    assert!(matches!(
        avg_pool(&x, &options.clone().divisor_override(0)),
        Err(Error::Parameter { .. })
    ));
    for p in [0.0, 0.5, -1.0, f64::INFINITY, f64::NAN] {
        assert!(
            matches!(lp_pool(&x, p, &options), Err(Error::Parameter { .. })),
            "{p}"
        );
        assert!(matches!(
            lp_pool_backward(&x, &x, &x, p, &options),
            Err(Error::Shape { .. } | Error::Parameter { .. })
        ));
        assert!(matches!(
            global_lp_pool(&x, p, first),
            Err(Error::Parameter { .. })
        ));
    }
    // Ranks
    let flat = ArrayD::<f32>::ones(IxDyn(&[4]));
    assert_eq!(
        max_pool(&flat, &options).unwrap_err(),
        Error::SpatialRank { got: 0 }
    );
    assert_eq!(
        global_max_pool(&flat, first).unwrap_err(),
        Error::SpatialRank { got: 0 }
    );
    assert!(matches!(
        adaptive_avg_pool_backward(&flat, &[1, 1, 4], first),
        Err(Error::SpatialRank { got: 0 })
    ));
    assert!(matches!(
        max_pool(&x, &PoolOptions::new([2])),
        Err(Error::OptionRank { .. })
    ));
}

#[test]
fn gradients_and_indices_that_do_not_fit_are_typed_errors() {
    let x = Array4::<f32>::ones((1, 2, 4, 4));
    let options = PoolOptions::new(2);
    let first = Layout::ChannelsFirst;
    let (y, mut indices) = max_pool_with_indices(&x, &options).unwrap();
    assert!(matches!(
        max_pool_backward(&x, &indices, x.shape(), &options),
        Err(Error::Shape {
            what: "output gradient",
            ..
        })
    ));
    assert!(matches!(
        max_pool_backward(
            &y,
            &indices.mapv(|i| i).slice(ndarray::s![.., ..1, .., ..]),
            x.shape(),
            &options
        ),
        Err(Error::Shape {
            what: "indices",
            ..
        })
    ));
    assert!(matches!(
        avg_pool_backward(&x, x.shape(), &options),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        lp_pool_backward(&x, &x, &y, 2.0, &options),
        Err(Error::Shape { what: "output", .. })
    ));
    assert!(matches!(
        global_avg_pool_backward(&y, x.shape(), first),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        adaptive_avg_pool_backward(&y, &[1, 3, 4, 4], first),
        Err(Error::Shape { .. })
    ));
    indices[[0, 1, 0, 1]] = 16;
    let outside = Error::Index {
        index: 16,
        position: 5,
        limit: 16,
    };
    assert_eq!(
        max_pool_backward(&y, &indices, x.shape(), &options).unwrap_err(),
        outside
    );
    assert_eq!(max_unpool(&y, &indices, 4, first).unwrap_err(), outside);
    assert_eq!(
        max_unpool_backward(&x, &indices, first).unwrap_err(),
        outside
    );
    // −1 as an unsigned number, where no window is without elements.
    indices[[0, 1, 0, 1]] = NO_ELEMENT;
    assert!(matches!(
        max_pool_backward(&y, &indices, x.shape(), &options),
        Err(Error::Index { .. })
    ));
    assert!(matches!(
        max_unpool(&y, &indices, 4, first),
        Err(Error::Index { .. })
    ));
    indices[[0, 1, 0, 1]] = 2;
    assert!(matches!(
        max_unpool(&y, &indices, [4, 0], first),
        Err(Error::Zero {
            what: "output size",
            axis: 1
        })
    ));
    assert!(matches!(
        max_unpool(&y, &indices, 1 << 40, first),
        Err(Error::Overflow { .. })
    ));
    assert!(matches!(
        max_unpool(&x, &indices, 4, first),
        Err(Error::Shape {
            what: "indices",
            ..
        })
    ));
    assert!(matches!(
        max_unpool_backward(&y.slice(ndarray::s![.., ..1, .., ..]), &indices, first),
        Err(Error::Shape { .. })
    ));
    // Slices
    let geometry = PoolGeometry::new(x.shape(), &options).unwrap();
    let (x, mut y) = ([0.0f32; 32], [0.0f32; 8]);
    assert_eq!(
        max_pool_into(&geometry, &x[1..], &mut y).unwrap_err(),
        Error::BufferLength {
            what: "input",
            expected: 32,
            got: 31
        }
    );
    assert!(matches!(
        avg_pool_into(&geometry, &x, &mut y[1..]),
        Err(Error::BufferLength { what: "output", .. })
    ));
    assert!(matches!(
        max_pool_with_indices_into(&geometry, &x, &mut y, &mut [0; 7]),
        Err(Error::BufferLength {
            what: "indices",
            ..
        })
    ));
}

/// Any numbers at all: a result or a typed error, never a panic, never a hang.
#[test]
fn wild_options_never_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    let wild = |rng: &mut fastrand::Rng| match rng.u8(..4) {
        0 => rng.usize(..) >> rng.u32(..64),
        1 => (1usize << rng.u32(..64)).wrapping_sub(rng.usize(..2)),
        _ => rng.usize(..5),
    };
    let mut accepted = 0;
    for _ in 0..100_000 {
        let rank = rng.usize(1..=3);
        let [kernel, stride, dilation, before, after] =
            [(); 5].map(|()| (0..rank).map(|_| wild(&mut rng)).collect::<Vec<usize>>());
        let pads: Vec<(usize, usize)> = before.into_iter().zip(after).collect();
        let padding = [
            Padding::Valid,
            Padding::SameUpper,
            Padding::SameLower,
            pads.as_slice().into(),
        ][rng.usize(..4)];
        let options = PoolOptions::new(kernel.as_slice())
            .stride(stride.as_slice())
            .dilation(dilation.as_slice())
            .padding(padding)
            .ceil_mode(rng.bool())
            .count_include_pad(rng.bool());
        let x = ArrayD::<f32>::ones(IxDyn(&[vec![1; 2], vec![rng.usize(..6); rank]].concat()));
        let Ok(geometry) = PoolGeometry::new(x.shape(), &options) else {
            continue;
        };
        if geometry.output_len() < 1 << 12 {
            let (y, indices) = max_pool_with_indices(&x, &options).unwrap();
            max_pool_backward(&y, &indices, x.shape(), &options).unwrap();
            avg_pool_backward(&avg_pool(&x, &options).unwrap(), x.shape(), &options).unwrap();
            accepted += 1;
        }
        // Batch 0 has nothing to allocate, however long the output axes.
        let nothing = ArrayD::<f32>::ones(IxDyn(&[vec![0, 1], x.shape()[2..].to_vec()].concat()));
        assert!(max_pool(&nothing, &options).unwrap().is_empty());
    }
    assert!(accepted > 1000, "{accepted}");
}
