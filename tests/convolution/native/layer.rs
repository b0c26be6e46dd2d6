//! A layer with its operands and the answers of the reference loops, and every plan that must give them.

use std::fmt;

use gemmconv::kernel::Isa;
use gemmconv::{
    Accuracy, ConvGeometry, ConvOptions, ConvPlan, Layout, PlanOptions, RecipeKind, reference,
};
use ndarray::{ArrayD, ArrayView, IxDyn};

use crate::support::takes;

/// A convolution in words: sizes without the layout.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    pub groups: usize,
    /// Input and output channels of one group.
    pub channels: usize,
    pub outputs: usize,
    pub image: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: usize,
    pub dilation: [usize; 2],
    /// Padding, times the dilation.
    pub pad: usize,
}

impl Shape {
    /// A dense 3 × 3 layer with padding 1.
    pub const fn dense(channels: usize, outputs: usize, image: [usize; 2]) -> Self {
        Self {
            batch: 2,
            groups: 1,
            channels,
            outputs,
            image,
            kernel: [3, 3],
            stride: 1,
            dilation: [1, 1],
            pad: 1,
        }
    }

    pub const fn grouped(
        groups: usize,
        channels: usize,
        outputs: usize,
        image: [usize; 2],
    ) -> Self {
        Self {
            groups,
            ..Self::dense(channels, outputs, image)
        }
    }

    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub const fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    pub const fn kernel(self, kernel: [usize; 2], pad: usize) -> Self {
        Self {
            kernel,
            pad,
            ..self
        }
    }

    pub fn padding(&self) -> [usize; 2] {
        self.dilation.map(|dilation| self.pad * dilation)
    }

    pub fn geometry(&self, layout: Layout) -> ConvGeometry {
        let options = ConvOptions::new()
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.padding())
            .groups(self.groups)
            .layout(layout);
        let input = layout.shape(self.batch, self.groups * self.channels, &self.image);
        let weight = [
            self.groups * self.outputs,
            self.channels,
            self.kernel[0],
            self.kernel[1],
        ];
        ConvGeometry::new(&input, &weight, &options).unwrap()
    }
}

/// Operands of a layer and what the loops make of them. Integers, so that every sum is exact.
#[derive(Clone)]
pub struct Layer {
    pub geometry: ConvGeometry,
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub bias: Vec<f32>,
    pub dy: Vec<f32>,
}

/// The answers without bias.
pub struct Answers {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub dw: Vec<f32>,
    pub db: Vec<f32>,
}

impl Layer {
    pub fn new(geometry: ConvGeometry, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = |length: usize| (0..length).map(|_| random.i32(-4..=4) as f32).collect();
        Self {
            x: draw(geometry.input_len()),
            w: draw(geometry.weight_len()),
            bias: draw(geometry.output_channels()),
            dy: draw(geometry.output_len()),
            geometry,
        }
    }

    /// What the loops say.
    pub fn answers(&self) -> Answers {
        let of = |length: usize| vec![f32::NAN; length];
        let geometry = &self.geometry;
        let mut answers = Answers {
            y: of(self.dy.len()),
            dx: of(self.x.len()),
            dw: of(self.w.len()),
            db: of(self.bias.len()),
        };
        reference::forward(geometry, &self.x, &self.w, None, &mut answers.y);
        reference::backward_input(geometry, &self.w, &self.dy, &mut answers.dx);
        reference::backward_weight(geometry, &self.x, &self.dy, &mut answers.dw);
        reference::backward_bias(geometry, &self.dy, &mut answers.db);
        answers
    }

    /// The weights as an array.
    pub fn weight(&self) -> ArrayD<f32> {
        let shape = IxDyn(&self.geometry.weight_shape());
        ArrayView::from_shape(shape, &self.w).unwrap().to_owned()
    }
}

/// A way to plan: a recipe (or the plan's choice) on an instruction set, on two threads however small the work.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub recipe: Option<RecipeKind>,
    pub isa: Isa,
}

impl Way {
    /// Every native recipe that takes `geometry` and sums integers exactly, and the plan's choice, on every instruction
    /// set there is.
    pub fn native(geometry: &ConvGeometry) -> Vec<Self> {
        let ways = Isa::available().into_iter().flat_map(|isa| {
            let kinds = [
                RecipeKind::Direct,
                RecipeKind::Pointwise,
                RecipeKind::Grouped,
                // Exact on integers, which `WinogradF4` is not.
                RecipeKind::WinogradF2,
            ];
            let taken = kinds
                .into_iter()
                .filter(|&kind| takes::<f32>(kind, geometry));
            taken
                .map(Some)
                .chain([None])
                .map(move |recipe| Self { recipe, isa })
        });
        ways.collect()
    }

    /// The same, the loops and the engine.
    pub fn all(geometry: &ConvGeometry) -> Vec<Self> {
        let others = [RecipeKind::Naive, RecipeKind::Unfold].map(|kind| Self {
            recipe: Some(kind),
            isa: Isa::detect(),
        });
        [others.to_vec(), Self::native(geometry)].concat()
    }

    /// Whether results are sums of products of one pixel and one weight: not by Winograd's algorithm, where all numbers of
    /// a tile meet.
    pub fn is_exact(&self) -> bool {
        self.recipe.is_none_or(|recipe| recipe.is_exact())
    }

    pub fn options(&self) -> PlanOptions {
        PlanOptions {
            recipe: self.recipe,
            ..PlanOptions::new()
                .accuracy(Accuracy::Exact)
                .isa(self.isa)
                .serial_below(0)
        }
    }

    /// The plan, which must be of the recipe and the instruction set that were asked for.
    pub fn plan(&self, geometry: &ConvGeometry) -> ConvPlan<f32> {
        let plan = ConvPlan::new(geometry, &self.options()).unwrap();
        let recipe = plan.recipe_of(gemmconv::Pass::Forward);
        assert!(
            self.recipe.is_none_or(|kind| recipe.kind() == kind),
            "{self}"
        );
        assert!(recipe.isa().is_none_or(|isa| isa == self.isa), "{self}");
        plan
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipe = self.recipe.map_or("the plan's choice", |kind| kind.name());
        write!(formatter, "{recipe} on {}", self.isa)
    }
}

/// Panics with the first element that differs; NaN equals NaN, and zeros of either sign are equal.
#[track_caller]
pub fn assert_same(got: &[f32], expected: &[f32], what: impl Fn() -> String) {
    assert_eq!(got.len(), expected.len(), "{}", what());
    let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
    if let Some(at) = (0..got.len()).find(|&i| !same(got[i], expected[i])) {
        let more = (at..got.len())
            .filter(|&i| !same(got[i], expected[i]))
            .count()
            - 1;
        panic!(
            "{}: element {at} is {}, expected {} ({more} more of {})",
            what(),
            got[at],
            expected[at],
            got.len()
        );
    }
}
