//! Transposed convolution: the adjoint of convolution, scattered by its definition, and as an ordinary convolution of
//! an image with zeros between its elements.

use gemmconv::{ConvOptions, Layout, TransposedGeometry, TransposedOptions, conv, conv_transpose};
use ndarray::{ArrayD, ArrayView1, Axis, IxDyn, Slice};

use super::table::reversed;
use crate::support::{
    Failures, LAYOUTS, Operands, Random, Way, dot, from_layout, to_layout, vector,
};

/// A transposed convolution of the table: sizes channels first, weight `[I, O/g, kernel…]`.
#[derive(Clone, Debug)]
pub struct Transposed {
    pub input: &'static [usize],
    pub weight: &'static [usize],
    pub stride: &'static [usize],
    pub dilation: &'static [usize],
    pub pads: &'static [(usize, usize)],
    pub extra: &'static [usize],
    pub groups: usize,
}

/// Padding never above extent − 1, so that the zero-insertion form needs no negative padding.
pub const TRANSPOSED: [Transposed; 8] = [
    Transposed {
        input: &[2, 3, 5],
        weight: &[3, 4, 3],
        stride: &[1],
        dilation: &[1],
        pads: &[(0, 0)],
        extra: &[0],
        groups: 1,
    },
    Transposed {
        input: &[1, 4, 6],
        weight: &[4, 3, 4],
        stride: &[3],
        dilation: &[2],
        pads: &[(2, 5)],
        extra: &[2],
        groups: 2,
    },
    Transposed {
        input: &[2, 2, 4],
        weight: &[2, 1, 1],
        stride: &[4],
        dilation: &[1],
        pads: &[(0, 0)],
        extra: &[3],
        groups: 1,
    },
    Transposed {
        input: &[2, 3, 4, 5],
        weight: &[3, 2, 3, 2],
        stride: &[2, 1],
        dilation: &[1, 3],
        pads: &[(1, 0), (3, 2)],
        extra: &[1, 2],
        groups: 1,
    },
    Transposed {
        input: &[1, 6, 3, 4],
        weight: &[6, 2, 2, 3],
        stride: &[2, 3],
        dilation: &[1, 1],
        pads: &[(1, 1), (0, 2)],
        extra: &[1, 0],
        groups: 3,
    },
    Transposed {
        input: &[3, 4, 4, 4],
        weight: &[4, 1, 3, 3],
        stride: &[2, 2],
        dilation: &[1, 1],
        pads: &[(1, 1), (1, 1)],
        extra: &[1, 1],
        groups: 4,
    },
    Transposed {
        input: &[2, 5, 4, 3],
        weight: &[5, 3, 1, 1],
        stride: &[1, 1],
        dilation: &[1, 1],
        pads: &[(0, 0), (0, 0)],
        extra: &[0, 0],
        groups: 1,
    },
    Transposed {
        input: &[1, 2, 2, 3, 2],
        weight: &[2, 2, 2, 3, 2],
        stride: &[2, 1, 3],
        dilation: &[1, 2, 1],
        pads: &[(0, 1), (2, 2), (1, 0)],
        extra: &[1, 0, 2],
        groups: 1,
    },
];

impl Transposed {
    fn options(&self, layout: Layout) -> TransposedOptions {
        TransposedOptions::new()
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.pads)
            .output_padding(self.extra)
            .groups(self.groups)
            .layout(layout)
    }

    pub fn geometry(&self, layout: Layout) -> TransposedGeometry {
        let input = layout.shape(self.input[0], self.input[1], &self.input[2..]);
        TransposedGeometry::new(&input, self.weight, &self.options(layout)).unwrap()
    }

    pub fn outputs(&self) -> usize {
        self.weight[1] * self.groups
    }

    /// Operands in the order of `layout`, and the same channels first.
    fn operands(&self, seed: u64, layout: Layout) -> (Operands<f64>, Operands<f64>) {
        let mut random = Random::new(seed);
        let first = Operands {
            x: random.integers(self.input),
            w: random.integers(self.weight),
            b: random
                .integers(&[self.outputs()])
                .into_raw_vec_and_offset()
                .0,
            dy: random.integers(&self.geometry(Layout::ChannelsFirst).output_shape()),
        };
        let operands = Operands {
            x: to_layout(layout, &first.x),
            dy: to_layout(layout, &first.dy),
            ..first.clone()
        };
        (operands, first)
    }

    /// By the definition: every input element adds w to the window it stands for.
    fn scattered(&self, operands: &Operands<f64>) -> ArrayD<f64> {
        let mut y = ArrayD::zeros(operands.dy.raw_dim());
        let per_group = self.input[1] / self.groups;
        for ((at, &x), o) in operands
            .x
            .indexed_iter()
            .flat_map(|pair| (0..self.weight[1]).map(move |o| (pair.clone(), o)))
        {
            let kernel = operands
                .w
                .index_axis(Axis(0), at[1])
                .index_axis_move(Axis(0), o)
                .to_owned();
            for (tap, &w) in kernel.indexed_iter() {
                let mut target = vec![at[0], at[1] / per_group * self.weight[1] + o];
                for axis in 0..self.stride.len() {
                    let reached =
                        at[axis + 2] * self.stride[axis] + tap[axis] * self.dilation[axis];
                    target.push(reached.wrapping_sub(self.pads[axis].0));
                }
                // What reaches beyond the output is cut off.
                if let Some(y) = y.get_mut(IxDyn(&target)) {
                    *y += x * w;
                }
            }
        }
        for (mut channel, &b) in y.axis_iter_mut(Axis(1)).zip(&operands.b) {
            channel += b;
        }
        y
    }

    /// By an ordinary convolution: zeros between the inputs, the kernel turned round, inputs and outputs swapped.
    fn zeros_inserted(&self, operands: &Operands<f64>) -> ArrayD<f64> {
        let rank = self.stride.len();
        let mut shape = self.input.to_vec();
        let mut pads = Vec::new();
        for axis in 0..rank {
            shape[axis + 2] = (self.input[axis + 2] - 1) * self.stride[axis] + 1;
            let reach = self.dilation[axis] * (self.weight[axis + 2] - 1);
            pads.push((
                reach - self.pads[axis].0,
                reach - self.pads[axis].1 + self.extra[axis],
            ));
        }
        let mut x = ArrayD::zeros(shape);
        x.slice_each_axis_mut(|axis| match axis.axis.index() {
            0 | 1 => Slice::from(..),
            spatial => Slice::new(0, None, self.stride[spatial - 2] as isize),
        })
        .assign(&operands.x);
        // [I, O/g, …] → [O, I/g, …], group by group.
        let (per_group, outputs) = (self.input[1] / self.groups, self.weight[1]);
        let turned = reversed(&operands.w);
        let mut swapped = self.weight.to_vec();
        (swapped[0], swapped[1]) = (self.outputs(), per_group);
        let w = ArrayD::from_shape_fn(swapped, |mut index| {
            let (o, i) = (index[0], index[1]);
            (index[0], index[1]) = (o / outputs * per_group + i, o % outputs);
            turned[index]
        });
        let options = ConvOptions::new()
            .dilation(self.dilation)
            .padding(pads.as_slice())
            .groups(self.groups);
        conv(&x, &w, Some(&ArrayView1::from(&operands.b)), &options).unwrap()
    }
}

#[test]
fn a_transposed_convolution_is_the_adjoint_and_the_zero_inserted_form() {
    let mut failures = Failures::new();
    for (seed, case) in TRANSPOSED.iter().enumerate() {
        for layout in LAYOUTS {
            let geometry = case.geometry(layout);
            let (operands, first) = case.operands(seed as u64, layout);
            let expected = case.scattered(&first);
            failures.equal(
                &format!("{case:?}: zero insertion"),
                &case.zeros_inserted(&first),
                &expected,
            );
            let one = conv_transpose(
                &operands.x,
                &operands.w,
                Some(&ArrayView1::from(&operands.b)),
                &case.options(layout),
            );
            failures.equal(
                &format!("{case:?}: one call"),
                &from_layout(layout, &one.unwrap()),
                &expected,
            );
            for way in Way::on::<f32>(geometry.twin(), &[1, 2]) {
                let name = format!("{case:?}, {} ({way})", layout.name());
                let answers = operands.transposed(&geometry, way);
                failures.equal(&name, &from_layout(layout, &answers.y), &expected);
                // The convolution with the same weights leads back from y to x, and is its adjoint.
                let twin = Operands {
                    x: operands.dy.clone(),
                    w: operands.w.clone(),
                    b: vec![0.0; case.input[1]],
                    dy: operands.x.clone(),
                };
                let twin = twin.conv(geometry.twin(), way);
                failures.equal(&format!("{name}: dx"), &answers.dx, &twin.y);
                failures.equal(&format!("{name}: dw"), &answers.dw, &twin.dw);
                let unbiased = Operands {
                    b: vec![0.0; case.outputs()],
                    ..operands.clone()
                };
                let y = unbiased.transposed(&geometry, way).y;
                let sides = [
                    dot(&y, &operands.dy),
                    dot(&operands.x, &answers.dx),
                    dot(&operands.w, &answers.dw),
                ];
                failures.check(sides.iter().all(|&side| side == sides[0]), || {
                    format!("{name}: {sides:?}")
                });
                let sums = first
                    .dy
                    .axis_iter(Axis(1))
                    .map(|channel| channel.sum())
                    .collect();
                failures.equal(&format!("{name}: db"), &answers.db, &vector(sums));
            }
        }
    }
    failures.finish(TRANSPOSED.len() * 2 * Way::FEWEST * 5);
}
