//! Convolutions, and what the library says of them: numbers, and what reaches what.

use std::collections::{BTreeMap, BTreeSet};

use gemmconv::unfold::{PatchOrder, unfold};
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, Padding, PlanOptions, Wanted};
use ndarray::{Array2, Array4};

/// Sets of element numbers by the part of the page.
pub type Lit = BTreeMap<String, BTreeSet<usize>>;

/// A convolution, as the arguments and the controls say it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// None is `same`.
    pub padding: Option<[usize; 2]>,
    pub dilation: [usize; 2],
    pub channels: usize,
    pub outputs: usize,
    pub groups: usize,
}

pub const PLAIN: Case = Case {
    input: [3, 3],
    kernel: [2, 2],
    stride: [1, 1],
    padding: Some([0, 0]),
    dilation: [1, 1],
    channels: 1,
    outputs: 1,
    groups: 1,
};

pub const CASES: [Case; 6] = [
    PLAIN,
    Case {
        input: [5, 4],
        kernel: [3, 2],
        stride: [2, 1],
        padding: Some([1, 0]),
        ..PLAIN
    },
    Case {
        input: [5, 5],
        padding: None,
        stride: [2, 2],
        ..PLAIN
    },
    Case {
        input: [5, 6],
        dilation: [2, 3],
        ..PLAIN
    },
    Case {
        input: [3, 2],
        channels: 4,
        outputs: 2,
        groups: 2,
        ..PLAIN
    },
    Case {
        input: [7, 7],
        stride: [3, 3],
        channels: 2,
        outputs: 2,
        ..PLAIN
    },
];

impl Case {
    pub fn arguments(&self) -> Vec<String> {
        let pair = |[rows, columns]: [usize; 2]| format!("{rows},{columns}");
        let size = |[rows, columns]: [usize; 2]| format!("{rows}x{columns}");
        let options = [
            ("--input", size(self.input)),
            ("--kernel", size(self.kernel)),
            ("--stride", pair(self.stride)),
            ("--padding", self.padding.map_or("same".to_owned(), pair)),
            ("--dilation", pair(self.dilation)),
            ("--channels", self.channels.to_string()),
            ("--outputs", self.outputs.to_string()),
            ("--groups", self.groups.to_string()),
        ];
        options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}

/// What the library says of a case.
pub struct Truth {
    geometry: ConvGeometry,
    /// The pixel of the padded image, counted over all channels, in each place of the patch matrix.
    pixels: Array2<usize>,
    /// Pixels that are not padding.
    inner: BTreeSet<usize>,
    /// The numbers of each part, in the order of its elements.
    pub numbers: BTreeMap<&'static str, BTreeMap<usize, f64>>,
}

impl Truth {
    pub fn new(case: &Case) -> Self {
        let padding = match case.padding {
            Some(padding) => Padding::symmetric(padding),
            None => Padding::SameUpper,
        };
        let options = ConvOptions::new()
            .stride(case.stride)
            .dilation(case.dilation)
            .padding(padding)
            .groups(case.groups);
        let [height, width] = case.input;
        let x = Array4::from_shape_fn((1, case.channels, height, width), |(_, c, i, j)| {
            (c + i * width + j) as f64
        });
        let [kh, kw] = case.kernel;
        let w = Array4::from_shape_fn(
            (case.outputs, case.channels / case.groups, kh, kw),
            |(o, c, i, j)| (o + c + i * kw + j) as f64,
        );
        let geometry = ConvGeometry::new(x.shape(), w.shape(), &options).unwrap();
        let plan = ConvPlan::new(&geometry, &PlanOptions::new()).unwrap();
        let weights = plan.prepare(&w).unwrap();
        let y = plan.forward(&x, &weights, &Epilogue::none()).unwrap();
        let positions = geometry.positions();
        let mut next = 0;
        let d_output = y.mapv(|_| {
            next += 1;
            ((next - 1) / positions + (next - 1) % positions + 1) as f64
        });
        let gradients = plan.backward(&x, &weights, &d_output, Wanted::ALL).unwrap();
        let order = PatchOrder::ElementsByPositions;
        let patches = unfold(&x, &case.kernel, &options, order).unwrap();

        // The padded image, whose elements are their own numbers.
        let axes = geometry.axes();
        let side = |axis: usize| axes[axis].pad().0 + axes[axis].input() + axes[axis].pad().1;
        let (rows, columns) = (side(0), side(1));
        let number = |c: usize, i: usize, j: usize| (c * rows + i) * columns + j;
        let padded = Array4::from_shape_fn((1, case.channels, rows, columns), |(_, c, i, j)| {
            number(c, i, j) as f64
        });
        let places = unfold(
            &padded,
            &case.kernel,
            &options.padding(Padding::Valid),
            order,
        )
        .unwrap();
        let pixels = places
            .index_axis_move(ndarray::Axis(0), 0)
            .mapv(|number| number as usize);

        let (top, left) = (axes[0].pad().0, axes[1].pad().0);
        let image = |values: &Array4<f64>| {
            let placed = values
                .indexed_iter()
                .map(|((_, c, i, j), &v)| (number(c, i + top, j + left), v));
            placed.collect::<BTreeMap<_, _>>()
        };
        let list = |values: Vec<f64>| values.into_iter().enumerate().collect::<BTreeMap<_, _>>();
        let inner: BTreeSet<usize> = image(&x).into_keys().collect();
        let mut with_padding: BTreeMap<usize, f64> = (0..case.channels * rows * columns)
            .map(|n| (n, 0.0))
            .collect();
        with_padding.extend(image(&x));
        let y = list(y.iter().copied().collect());
        let w = list(w.iter().copied().collect());
        let numbers = BTreeMap::from([
            ("image", with_padding),
            ("kernel", w.clone()),
            ("weights", w),
            ("output", y.clone()),
            ("product", y),
            ("patches", list(patches.iter().copied().collect())),
            ("d-output", list(d_output.iter().copied().collect())),
            (
                "d-kernel",
                list(gradients.d_weight.unwrap().iter().copied().collect()),
            ),
            ("d-image", image(&gradients.d_input.unwrap())),
        ]);
        Self {
            geometry,
            pixels,
            inner,
            numbers,
        }
    }

    /// Lights the parts of an element's four sets.
    fn lit(
        &self,
        image: BTreeSet<usize>,
        weights: BTreeSet<usize>,
        patches: BTreeSet<usize>,
        output: BTreeSet<usize>,
    ) -> Lit {
        let inner = image.intersection(&self.inner).copied().collect();
        let parts = [
            ("image", image),
            ("d-image", inner),
            ("kernel", weights.clone()),
            ("weights", weights.clone()),
            ("d-kernel", weights),
            ("patches", patches.clone()),
            ("d-patches", patches),
            ("output", output.clone()),
            ("product", output.clone()),
            ("d-output", output),
        ];
        let parts = parts.into_iter().filter(|(_, set)| !set.is_empty());
        parts.map(|(part, set)| (part.to_owned(), set)).collect()
    }

    /// What an element of a part must light.
    pub fn expected(&self, part: &str, index: usize) -> Lit {
        let (k, p) = (self.geometry.patch_len(), self.geometry.positions());
        let per_group = self.geometry.outputs_per_group();
        let outputs_of = |row: usize| (row / k * per_group)..((row / k + 1) * per_group);
        let one = BTreeSet::from([index]);
        match part {
            "output" | "product" | "d-output" => {
                let (o, at) = (index / p, index % p);
                let rows = o / per_group * k..(o / per_group + 1) * k;
                let image = rows.clone().map(|row| self.pixels[[row, at]]).collect();
                let patches = rows.map(|row| row * p + at).collect();
                self.lit(image, (o * k..(o + 1) * k).collect(), patches, one)
            }
            "image" | "d-image" => {
                let met = self
                    .pixels
                    .indexed_iter()
                    .filter(|&(_, &pixel)| pixel == index);
                let met: Vec<(usize, usize)> = met.map(|(place, _)| place).collect();
                let patches = met.iter().map(|(row, at)| row * p + at).collect();
                let output = met
                    .iter()
                    .flat_map(|&(row, at)| outputs_of(row).map(move |o| o * p + at));
                self.lit(one, BTreeSet::new(), patches, output.collect())
            }
            "kernel" | "weights" | "d-kernel" => {
                let o = index / k;
                let row = o / per_group * k + index % k;
                let image = self.pixels.row(row).iter().copied().collect();
                let patches = (row * p..(row + 1) * p).collect();
                self.lit(image, one, patches, (o * p..(o + 1) * p).collect())
            }
            "patches" | "d-patches" => {
                let (row, at) = (index / p, index % p);
                let weights = outputs_of(row).map(|o| o * k + row % k).collect();
                let output = outputs_of(row).map(|o| o * p + at).collect();
                self.lit(
                    BTreeSet::from([self.pixels[[row, at]]]),
                    weights,
                    one,
                    output,
                )
            }
            part => panic!("there is no part {part}"),
        }
    }
}
