//! Locally connected layers against their loops, and convolution against its explicit matrix.

use gemmconv::operator::convolution_matrix;
use gemmconv::{
    ConvGeometry, ConvOptions, Element, EngineKind, Layout, LocalPlan, PaddingMode, PlanOptions,
    TransposedGeometry, TransposedOptions, conv, conv_transpose, reference,
};
use ndarray::{Array1, Array2, Array3, ArrayD, IxDyn};

fn integers<T: Element>(random: &mut fastrand::Rng, shape: &[usize]) -> ArrayD<T> {
    ArrayD::from_shape_simple_fn(IxDyn(shape), || T::from_f64(f64::from(random.i32(-4..=4))))
}

/// A geometry that exists, with sizes from 1 to about 6.
fn geometry(random: &mut fastrand::Rng) -> (ConvGeometry, ConvOptions) {
    loop {
        let rank = random.usize(1..=3);
        let mut draw = |low: usize, high: usize| {
            (0..rank)
                .map(|_| random.usize(low..=high))
                .collect::<Vec<_>>()
        };
        let (spatial, kernel) = (draw(1, 6), draw(1, 3));
        let (stride, dilation, pad) = (draw(1, 2), draw(1, 2), draw(0, 2));
        let groups = random.usize(1..=2);
        let (channels, outputs) = (groups * random.usize(1..=2), groups * random.usize(1..=3));
        let layout = if random.bool() {
            Layout::ChannelsFirst
        } else {
            Layout::ChannelsLast
        };
        let modes = [
            PaddingMode::Zeros,
            PaddingMode::Reflect,
            PaddingMode::Replicate,
            PaddingMode::Circular,
        ];
        let pads: Vec<(usize, usize)> = pad.iter().map(|&pad| (pad, pad)).collect();
        let options = ConvOptions::new()
            .stride(stride.as_slice())
            .dilation(dilation.as_slice())
            .padding(pads.as_slice())
            .padding_mode(modes[random.usize(0..4)])
            .groups(groups)
            .layout(layout);
        let input = layout.shape(random.usize(0..4), channels, &spatial);
        let weight = [&[outputs, channels / groups], kernel.as_slice()].concat();
        if let Ok(geometry) = ConvGeometry::new(&input, &weight, &options) {
            return (geometry, options);
        }
    }
}

fn local_agrees<T: Element>(engine: EngineKind) {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..800 {
        let (geometry, _) = geometry(&mut random);
        let limit = [1, 100, 1 << 20][round % 3];
        let options = PlanOptions::new()
            .engine(engine)
            .scratch_limit(limit)
            .serial_below(0);
        let plan = LocalPlan::<T>::new(&geometry, &options).unwrap();
        let x = integers::<T>(&mut random, &geometry.input_shape());
        let dy = integers::<T>(&mut random, &geometry.output_shape());
        let w: Array3<T> = integers(&mut random, &plan.weight_shape())
            .into_dimensionality()
            .unwrap();
        let b: Array2<T> = integers(&mut random, &plan.bias_shape())
            .into_dimensionality()
            .unwrap();
        let (x_slice, dy_slice) = (x.as_slice().unwrap(), dy.as_slice().unwrap());
        let (w_slice, b_slice) = (w.as_slice().unwrap(), b.as_slice().unwrap());

        let mut y = vec![T::NAN; geometry.output_len()];
        reference::local_forward(&geometry, x_slice, w_slice, Some(b_slice), &mut y);
        assert_eq!(
            plan.forward(&x, &w, Some(&b))
                .unwrap()
                .into_raw_vec_and_offset()
                .0,
            y,
            "{geometry:?}"
        );
        let mut dx = vec![T::NAN; geometry.input_len()];
        reference::local_backward_input(&geometry, w_slice, dy_slice, &mut dx);
        assert_eq!(
            plan.backward_input(&w, &dy)
                .unwrap()
                .into_raw_vec_and_offset()
                .0,
            dx,
            "{geometry:?}"
        );
        let mut dw = vec![T::NAN; w.len()];
        reference::local_backward_weight(&geometry, x_slice, dy_slice, &mut dw);
        assert_eq!(
            plan.backward_weight(&x, &dy)
                .unwrap()
                .into_raw_vec_and_offset()
                .0,
            dw,
            "{geometry:?}"
        );
        let db = plan.backward_bias(&dy).unwrap();
        let mut y_of_bias = vec![T::NAN; geometry.output_len()];
        reference::local_forward(
            &geometry,
            x_slice,
            &vec![T::ZERO; w.len()],
            Some(b_slice),
            &mut y_of_bias,
        );
        // ⟨b ↦ y, dy⟩ = ⟨b, db⟩
        let dot = |a: &[T], b: &[T]| {
            a.iter()
                .zip(b)
                .fold(0.0, |sum, (&a, &b)| sum + a.to_f64() * b.to_f64())
        };
        assert_eq!(
            dot(&y_of_bias, dy_slice),
            dot(b_slice, db.as_slice().unwrap())
        );
    }
}

#[test]
fn locally_connected_layers_agree_with_the_loops() {
    for engine in EngineKind::available() {
        local_agrees::<f32>(engine);
        local_agrees::<f64>(engine);
    }
}

/// With the same weights everywhere a locally connected layer is a convolution.
#[test]
fn equal_weights_make_it_a_convolution() {
    let mut random = fastrand::Rng::with_seed(5);
    let options = ConvOptions::new().padding(1);
    let x = integers::<f64>(&mut random, &[2, 3, 5, 4]);
    let w = integers::<f64>(&mut random, &[4, 3, 3, 3]);
    let geometry = ConvGeometry::new(x.shape(), w.shape(), &options).unwrap();
    let plan = LocalPlan::new(&geometry, &PlanOptions::new()).unwrap();
    let same = Array3::from_shape_fn(plan.weight_shape(), |(_, o, k)| {
        w.as_slice().unwrap()[o * 27 + k]
    });
    assert_eq!(
        plan.forward(&x, &same, None).unwrap(),
        conv(&x, &w, None, &options).unwrap()
    );
}

#[test]
fn what_a_locally_connected_layer_refuses() {
    let geometry = |flip| {
        ConvGeometry::new(
            &[1, 1, 8, 8],
            &[1, 1, 3, 3],
            &ConvOptions::new().flip_kernel(flip),
        )
        .unwrap()
    };
    let error = LocalPlan::<f32>::new(&geometry(true), &PlanOptions::new()).unwrap_err();
    assert!(error.to_string().contains("flipped"));
    let error = LocalPlan::<f32>::new(&geometry(false), &PlanOptions::new().memory_budget(1000))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "1732 bytes are needed, the memory budget is 1000"
    );
    let plan = LocalPlan::<f32>::new(&geometry(false), &PlanOptions::new()).unwrap();
    let x = ArrayD::zeros(IxDyn(&[1, 1, 8, 8]));
    assert!(plan.forward(&x, &Array3::zeros((36, 1, 8)), None).is_err());
    assert!(
        plan.forward(
            &x,
            &Array3::zeros((36, 1, 9)),
            Some(&Array2::zeros((1, 36)))
        )
        .is_err()
    );
}

/// vec(y) = M · vec(x), image by image, and the transposed convolution is Mᵀ.
#[test]
fn convolution_is_multiplication_by_its_matrix() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..400 {
        let (geometry, options) = geometry(&mut random);
        let x = integers::<f64>(&mut random, &geometry.input_shape());
        let w = integers::<f64>(&mut random, &geometry.weight_shape());
        let y = conv(&x, &w, None, &options).unwrap();
        let matrix = convolution_matrix(&geometry, &w).unwrap();
        for (x, y) in x.outer_iter().zip(y.outer_iter()) {
            let x: Array1<f64> = x.iter().copied().collect();
            let y: Array1<f64> = y.iter().copied().collect();
            assert_eq!(matrix.dot(&x), y, "{geometry:?}");
        }
    }
}

#[test]
fn transposed_convolution_is_the_transposed_matrix() {
    let mut random = fastrand::Rng::with_seed(4);
    let options = TransposedOptions::new()
        .stride([2, 3])
        .padding(1)
        .output_padding([1, 0])
        .groups(2);
    let x = integers::<f64>(&mut random, &[1, 4, 3, 5]);
    let w = integers::<f64>(&mut random, &[4, 3, 3, 2]);
    let geometry = TransposedGeometry::new(x.shape(), w.shape(), &options).unwrap();
    let y = conv_transpose(&x, &w, None, &options).unwrap();
    let matrix = convolution_matrix(geometry.twin(), &w).unwrap();
    let x: Array1<f64> = x.iter().copied().collect();
    assert_eq!(
        matrix.t().dot(&x),
        y.iter().copied().collect::<Array1<f64>>()
    );
}
