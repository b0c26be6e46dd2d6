//! Steps of f32 allocate nothing, and give the same bits for any number of threads.
//!
//! Rayon allocates when a call enters its pool from outside
//! and when a thread's queue grows; inside `install`, after a warm-up, it does neither.

use std::sync::Arc;

use crate::counting::counted;
use gemmconv::network::*;
use gemmconv::{ConvOptions, PlanOptions, PoolOptions};
use ndarray::{Array1, ArrayD};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// An operator with the shapes of its inputs, and constants behind them.
struct Case {
    operator: Arc<dyn Operator>,
    shapes: Vec<Vec<usize>>,
    constants: Vec<Tensor>,
}

impl Case {
    fn new(operator: impl Operator, shapes: &[&[usize]], constants: Vec<Tensor>) -> Self {
        Self {
            operator: Arc::new(operator),
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            constants,
        }
    }

    /// The same with the channels last.
    fn last(self) -> Self {
        let facts: Vec<_> = self.facts();
        let facts: Vec<_> = facts.iter().map(Some).collect();
        let operator = self.operator.channels_last(&facts).unwrap();
        let mut shapes = self.shapes;
        shapes
            .iter_mut()
            .for_each(|shape| shape[1..].rotate_left(1));
        Self {
            operator,
            shapes,
            constants: self.constants,
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let shapes = self.shapes.iter();
        let computed = shapes.map(|shape| Fact::new(DType::F32, shape.clone()));
        let constants = self.constants.iter().cloned();
        computed
            .chain(constants.map(|constant| Fact::constant(Arc::new(constant))))
            .collect()
    }

    /// The outputs, and the allocations of the last of three runs.
    fn run(&self, pool: &ThreadPool) -> (Vec<Tensor>, usize) {
        pool.install(|| {
            let facts = self.facts();
            let facts: Vec<_> = facts.iter().map(Some).collect();
            let inferred = self.operator.infer(&facts).unwrap();
            let step = self.operator.step(&facts, &PlanOptions::new()).unwrap();
            let inputs: Vec<ArrayD<f32>> = (self.shapes.iter())
                .map(|shape| {
                    let mut value = 0;
                    ArrayD::from_shape_simple_fn(shape.clone(), || {
                        value = (value + 7919) % 509;
                        value as f32 / 16.0 - 15.0
                    })
                })
                .collect();
            let inputs: Vec<Tensor> = inputs.into_iter().map(Tensor::from).collect();
            let views: Vec<_> = (inputs.iter().chain(&self.constants))
                .map(|tensor| Some(tensor.view()))
                .collect();
            let mut outputs: Vec<Tensor> = (inferred.iter())
                .map(|fact| Tensor::zeros(fact.dtype, &fact.shape).unwrap())
                .collect();
            let mut scratch = vec![f32::NAN; step.scratch_len()];
            let mut allocations = 0;
            let mut slots: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
            for _ in 0..3 {
                let (result, counts) = counted(|| step.run(&views, &mut slots, &mut scratch));
                result.unwrap();
                allocations = counts.taken + counts.packed;
            }
            drop(slots);
            (outputs, allocations)
        })
    }
}

fn list(values: &[i64]) -> Tensor {
    Array1::from(values.to_vec()).into_dyn().into()
}

fn ones(len: usize) -> Tensor {
    Array1::from(vec![1.0f32; len]).into_dyn().into()
}

fn matrix(shape: [usize; 2]) -> Tensor {
    ArrayD::from_shape_simple_fn(&shape[..], || 0.5f32).into()
}

/// Of two regions.
fn corners() -> Tensor {
    let corners = ndarray::arr2(&[[3.0f32, 2.5, 40.0, 50.0], [-9.0, 7.0, 30.5, 99.0]]);
    corners.into_dyn().into()
}

fn equation(text: &str) -> Einsum {
    Einsum::new(text).unwrap()
}

fn cases() -> Vec<Case> {
    let image: &[usize] = &[2, 32, 60, 50];
    let three = || PoolOptions::new(3).stride(2).padding(1);
    let resize = |interpolation| {
        let options = ResizeOptions {
            interpolation,
            ..ResizeOptions::default()
        };
        let scales = Array1::from(vec![1.0f32, 1.0, 1.7, 0.6]).into_dyn();
        Case::new(Resize::by_scales(options), &[image], vec![scales.into()])
    };
    let nearest = || Interpolation::Nearest(NearestMode::Floor);
    let scaled = |operator: Arc<dyn Operator>| Case {
        operator,
        shapes: vec![image.to_vec()],
        constants: vec![ones(32), ones(32)],
    };
    let mut cases = vec![
        Case::new(Reshape::flatten(1), &[image], vec![]),
        Case::new(Transpose::to_channels_last(4), &[image], vec![]),
        Case::new(Transpose::reversed(), &[image], vec![]),
        Case::new(Concat::new(1), &[image, &[2, 5, 60, 50]], vec![]),
        Case::new(Split::new(1, 2, true), &[image], vec![]),
        Case::new(
            Slice::new(),
            &[image],
            vec![list(&[3]), list(&[50]), list(&[2]), list(&[2])],
        ),
        Case::new(Expand::new(), &[&[32, 1, 1]], vec![list(image_sizes())]),
        Case::new(Tile::new(), &[image], vec![list(&[1, 2, 1, 3])]),
        Case::new(Gather::new(1), &[image], vec![list(&[3, -1, 4])]),
        Case::new(DepthToSpace::new(2, true), &[image], vec![]),
        Case::new(
            CenterCropPad::new(None),
            &[image],
            vec![list(&[2, 40, 70, 20])],
        ),
        Case::new(MeanVarianceNormalization::new([0, 2, 3]), &[image], vec![]),
        Case::new(LpNormalization::new(1, 2), &[image], vec![]),
        Case::new(
            LayerNormalization::new(-1, 1e-5, 3),
            &[image],
            vec![ones(50), ones(50)],
        ),
        Case::new(Pool::max_with_indices(three(), false), &[image], vec![]),
        Case::new(
            Col2Im::new(ConvOptions::new()),
            &[&[2, 36, 58 * 48]],
            vec![list(&[60, 50]), list(&[3, 3])],
        ),
        Case::new(
            GridSample::new(Interpolation::Linear, GridPadding::Border, true),
            &[image, &[2, 30, 20, 2]],
            vec![],
        ),
        Case::new(
            RoiAlign::new([7, 7]),
            &[image],
            vec![corners(), list(&[1, 0])],
        ),
        Case::new(Trilu::new(true), &[image], vec![list(&[-3])]),
        // Elsewhere the engine takes memory to pack factors into.
        Case::new(equation("nhwc,co->nhwo"), &[image], vec![matrix([50, 20])]),
        Case::new(equation("nchw,nchw->cn"), &[image, image], vec![]),
        Case::new(equation("nchw,h,nchw->nwh"), &[image, &[60], image], vec![]),
    ];
    for turned in [false, true] {
        let both = [
            Case::new(Pool::max(three()), &[image], vec![]),
            Case::new(Pool::average(three()), &[image], vec![]),
            Case::new(Pool::lp(three(), 2.0), &[image], vec![]),
            Case::new(Pool::global_average(), &[image], vec![]),
            Case::new(Pool::global_max(), &[image], vec![]),
            Case::new(Lrn::new(5, 1e-4, 0.75, 1.0), &[image], vec![]),
            scaled(Arc::new(InstanceNormalization::new(1e-5))),
            scaled(Arc::new(GroupNormalization::new(8, 1e-5, false))),
            resize(nearest()),
            resize(Interpolation::Linear),
            resize(Interpolation::Cubic(-0.75)),
        ];
        cases.extend(
            both.into_iter()
                .map(|case| if turned { case.last() } else { case }),
        );
    }
    cases
}

fn image_sizes() -> &'static [i64] {
    &[2, 32, 60, 50]
}

pub fn steps_allocate_nothing_and_do_not_depend_on_threads() {
    // Pools stay until the end: their threads allocate when they leave.
    let pools = [1, 3].map(|threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap()
    });
    for case in cases() {
        let what = format!("{} of {:?}", case.operator.name(), case.shapes);
        let (one, none) = case.run(&pools[0]);
        assert_eq!(none, 0, "{what} on one thread");
        let (three, none) = case.run(&pools[1]);
        assert_eq!(none, 0, "{what} on three threads");
        assert!(
            one == three,
            "{what}: the number of threads changes the result"
        );
    }
}
