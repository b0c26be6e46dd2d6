//! The numbers that are explained, all of them out of the library.
//!
//! ```text
//! X [C, h, w]   W [O, C/g, kh, kw]   X̂ = unfold(X) [C · taps, P]   Y = W · X̂ [O, P], group by group
//! dY [O, P]     dW = dY · X̂ᵀ         dX̂ = Wᵀ · dY                   dX = fold(dX̂)
//! sources[tap, p]   the pixel of the padded image that a tap meets at a position
//! ```

use anyhow::{Result, bail, ensure};
use ndarray::{Array2, Array3, Array4, Axis, s};

use super::values::Given;
use crate::error::Error;
use crate::gemm::multiply;
use crate::unfold::{PatchOrder, fold, unfold};
use crate::{
    ConvGeometry, ConvOptions, ConvPlan, EngineKind, Epilogue, Padding, PerAxis, PlanOptions,
    RecipeKind,
};

/// What a picture may come to, above which it is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Numbers of the padded image, the weights, the output and the patch matrix, each.
    pub numbers: usize,
    /// Multiplications of one pass.
    pub products: usize,
}

impl Limits {
    /// The patch matrix and its gradient take 64 MiB, all of it a second or two.
    pub const TERMINAL: Self = Self {
        numbers: 1 << 22,
        products: 1 << 28,
    };
    /// What a browser computes without a pause that one would notice.
    pub const PAGE: Self = Self {
        numbers: 1 << 20,
        products: 1 << 24,
    };

    /// What is counted, by a short name: what it is, and of what there may be how many.
    pub fn counts(self) -> [Count; 5] {
        let count = |name, what, unit, limit| Count {
            name,
            what,
            unit,
            limit,
        };
        [
            count("weights", "the weights have", "numbers", self.numbers),
            count("image", "the padded image has", "numbers", self.numbers),
            count("output", "the output has", "numbers", self.numbers),
            count("patches", "the patch matrix has", "numbers", self.numbers),
            count(
                "products",
                "the product takes",
                "multiplications",
                self.products,
            ),
        ]
    }

    /// # Errors
    /// More numbers or multiplications than these.
    fn check(self, geometry: &ConvGeometry) -> Result<()> {
        let sides = geometry.axes().iter().map(|axis| {
            let (before, after) = axis.pad();
            axis.input() as u128 + before as u128 + after as u128
        });
        let image = sides.fold(geometry.input_channels() as u128, u128::saturating_mul);
        let patches = geometry.patch().patch_len() as u128 * geometry.positions() as u128;
        let numbers = [
            geometry.weight_len() as u128,
            image,
            geometry.output_len() as u128,
            patches,
            geometry.operations() / 2,
        ];
        for (counted, number) in self.counts().iter().zip(numbers) {
            if number > counted.limit as u128 {
                let [number, limit] = [number, counted.limit as u128].map(|n| n.to_string());
                bail!(Count::refusal(counted.what, &number, counted.unit, &limit));
            }
        }
        Ok(())
    }
}

/// Something that has a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub limit: usize,
}

impl Count {
    /// The words for too many; the page fills them in itself.
    pub fn refusal(what: &str, number: &str, unit: &str, limit: &str) -> String {
        format!("{what} {number} {unit}, too many to explain: at most {limit}")
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub input: Given,
    pub kernel: Given,
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: Padding,
    pub channels: Option<usize>,
    pub outputs: Option<usize>,
    pub groups: usize,
}

impl Settings {
    /// The shapes of input and weight.
    fn shapes(&self) -> Result<([usize; 4], [usize; 4])> {
        let planes = match &self.kernel {
            Given::Kernels(bank) => Some(bank.len_of(Axis(1)).saturating_mul(self.groups)),
            _ => None,
        };
        let (channels, [height, width]) = match &self.input {
            Given::Planes(x) => {
                let (channels, height, width) = x.dim();
                let said = self.channels.unwrap_or(channels);
                ensure!(
                    said == channels,
                    "--channels {said}, but the input has {channels}"
                );
                (channels, [height, width])
            }
            Given::Size(size) => (self.channels.or(planes).unwrap_or(self.groups), *size),
            Given::Kernels(_) => unreachable!("an input is one image"),
        };
        let weight = match &self.kernel {
            Given::Kernels(bank) => {
                let (outputs, channels, height, width) = bank.dim();
                let said = self.outputs.unwrap_or(outputs);
                ensure!(
                    said == outputs,
                    "--outputs {said}, but there are {outputs} kernels"
                );
                [outputs, channels, height, width]
            }
            Given::Size([height, width]) => {
                // Zero groups are for the geometry to refuse.
                let per_group = channels.checked_div(self.groups).unwrap_or(channels);
                if per_group.checked_mul(self.groups) != Some(channels) && self.groups > 0 {
                    // The geometry might take such channels for those of another layout.
                    return Err(Error::Groups {
                        what: "input channels",
                        channels,
                        groups: self.groups,
                    }
                    .into());
                }
                [
                    self.outputs.unwrap_or(self.groups.max(1)),
                    per_group,
                    *height,
                    *width,
                ]
            }
            Given::Planes(_) => unreachable!("kernels come as a bank"),
        };
        Ok(([1, channels, height, width], weight))
    }

    /// The options of the convolution.
    pub fn options(&self) -> ConvOptions {
        ConvOptions::new()
            .stride(PerAxis::from(self.stride))
            .dilation(PerAxis::from(self.dilation))
            .padding(self.padding)
            .groups(self.groups)
    }

    /// The geometry, with what the library says against it.
    ///
    /// # Errors
    /// Settings that make no convolution, or one above `limits`.
    pub fn geometry(&self, limits: Limits) -> Result<ConvGeometry> {
        let (input, weight) = self.shapes()?;
        let geometry = ConvGeometry::new(&input, &weight, &self.options())?;
        limits.check(&geometry)?;
        Ok(geometry)
    }
}

/// Every number of one convolution and its gradients.
#[derive(Debug)]
pub(super) struct Model {
    pub geometry: ConvGeometry,
    pub options: ConvOptions,
    /// The image, `[C, h, w]`.
    pub x: Array3<f64>,
    /// The kernels, `[O, K]`.
    pub weights: Array2<f64>,
    /// X̂ of all channels, `[C · taps, P]`.
    pub patches: Array2<f64>,
    /// The pixel, counted in the padded image, that a tap meets, `[taps, P]`.
    pub sources: Array2<usize>,
    /// The output, `[O, P]`.
    pub y: Array2<f64>,
    /// The gradient that comes from behind, `[O, P]`.
    pub d_output: Array2<f64>,
    /// The kernels' gradient, `[O, K]`.
    pub d_weight: Array2<f64>,
    /// Wᵀ · dY of all groups, `[C · taps, P]`.
    pub d_patches: Array2<f64>,
    /// The image's gradient, `[C, h, w]`.
    pub d_input: Array3<f64>,
}

impl Model {
    /// Computes all of it.
    ///
    /// # Errors
    /// Those of [`Settings::geometry`]; no memory.
    pub fn new(settings: &Settings, limits: Limits) -> Result<Self> {
        let geometry = settings.geometry(limits)?;
        let options = settings.options();
        let (x, weight) = numbers(settings, &geometry);
        let (outputs, positions) = (geometry.output_channels(), geometry.positions());
        let k = geometry.patch_len();
        let d_output = Array2::from_shape_fn((outputs, positions), |(o, p)| (o + p + 1) as f64);

        // The way that is shown is the one that computes: unfolded patches times a matrix of weights.
        let plan = ConvPlan::new(&geometry, &PlanOptions::new().recipe(RecipeKind::Unfold))?;
        let prepared = plan.prepare(&weight)?;
        let image = x.view().insert_axis(Axis(0)).to_owned();
        let y = plan.forward(&image, &prepared, &Epilogue::none())?;
        let of_output = |flat: &Array2<f64>| flat.to_shape(y.dim()).map(|array| array.to_owned());
        let gradients = plan.backward(
            &image,
            &prepared,
            &of_output(&d_output)?,
            crate::Wanted::ALL,
        )?;
        let missing = "all gradients were asked for";
        let d_input = gradients
            .d_input
            .expect(missing)
            .index_axis_move(Axis(0), 0);
        let d_weight = gradients.d_weight.expect(missing);

        let order = PatchOrder::ElementsByPositions;
        let kernel = geometry.patch().kernel();
        let patches = unfold(&image, &kernel, &options, order)?.index_axis_move(Axis(0), 0);
        let sources = sources(&geometry, &options)?;
        let mut model = Self {
            d_patches: Array2::zeros(patches.dim()),
            d_weight: d_weight.to_shape((outputs, k))?.to_owned(),
            y: y.to_shape((outputs, positions))?.to_owned(),
            geometry,
            options,
            x,
            weights: weight.into_shape_with_order((outputs, k))?,
            patches,
            sources,
            d_output,
            d_input,
        };
        let engine = EngineKind::default().engine::<f64>()?;
        for group in 0..model.geometry.groups() {
            let per_group = model.geometry.outputs_per_group();
            let rows = s![group * k..(group + 1) * k, ..];
            let outputs = s![group * per_group..(group + 1) * per_group, ..];
            // (K × O) · (O × P) -> (K × P)
            let weights = model.weights.slice(outputs);
            let d_output = model.d_output.slice(outputs);
            multiply(
                engine,
                weights.t(),
                d_output,
                0.0,
                model.d_patches.slice_mut(rows),
            )?;
        }
        Ok(model)
    }

    /// The rows of X̂ that belong to an output channel.
    pub fn rows_of(&self, output: usize) -> std::ops::Range<usize> {
        let (group, k) = (
            output / self.geometry.outputs_per_group(),
            self.geometry.patch_len(),
        );
        group * k..(group + 1) * k
    }

    /// Height and width of the padded image, and where the image begins in it.
    pub fn padded(&self) -> ([usize; 2], [usize; 2]) {
        let axes = self.geometry.axes();
        let side = |axis: usize| {
            let (before, after) = axes[axis].pad();
            before + axes[axis].input() + after
        };
        ([side(0), side(1)], [axes[0].pad().0, axes[1].pad().0])
    }

    /// The pixel of the image at a place of the padded image; none in the padding.
    pub fn pixel(&self, row: usize, column: usize) -> Option<[usize; 2]> {
        let (_, [top, left]) = self.padded();
        let (_, height, width) = self.x.dim();
        let row = row.checked_sub(top).filter(|&row| row < height)?;
        let column = column.checked_sub(left).filter(|&column| column < width)?;
        Some([row, column])
    }

    /// dX after the first `positions` columns of dX̂ are folded.
    ///
    /// # Errors
    /// No memory.
    pub fn folded(&self, positions: usize) -> Result<Array3<f64>> {
        let mut columns = self.d_patches.clone();
        columns.slice_mut(s![.., positions..]).fill(0.0);
        let (channels, height, width) = self.x.dim();
        let image = fold(
            &columns.insert_axis(Axis(0)),
            ndarray::Ix4(1, channels, height, width),
            &self.geometry.patch().kernel(),
            &self.options,
            PatchOrder::ElementsByPositions,
        )?;
        Ok(image.index_axis_move(Axis(0), 0))
    }
}

/// Image and kernels: those that are given, else x[c, i] = c + i and w[o, c, k] = o + c + k.
fn numbers(settings: &Settings, geometry: &ConvGeometry) -> (Array3<f64>, Array4<f64>) {
    let axes = geometry.axes();
    let x = match &settings.input {
        Given::Planes(x) => x.clone(),
        _ => Array3::from_shape_fn(
            (geometry.input_channels(), axes[0].input(), axes[1].input()),
            |(c, i, j)| (c + i * axes[1].input() + j) as f64,
        ),
    };
    let weight = match &settings.kernel {
        Given::Kernels(weight) => weight.clone(),
        _ => Array4::from_shape_fn(
            (
                geometry.output_channels(),
                geometry.channels_per_group(),
                axes[0].kernel(),
                axes[1].kernel(),
            ),
            |(o, c, i, j)| (o + c + i * axes[1].kernel() + j) as f64,
        ),
    };
    (x, weight)
}

/// Which pixel a tap meets: a padded image of element numbers, unfolded.
fn sources(geometry: &ConvGeometry, options: &ConvOptions) -> Result<Array2<usize>> {
    let side = |axis: &crate::Axis| axis.pad().0 + axis.input() + axis.pad().1;
    let (height, width) = (side(&geometry.axes()[0]), side(&geometry.axes()[1]));
    let numbers =
        Array4::from_shape_fn((1, 1, height, width), |(_, _, i, j)| (i * width + j) as f64);
    let options = options.clone().padding(Padding::Valid).groups(1);
    let order = PatchOrder::ElementsByPositions;
    let sources = unfold(&numbers, &geometry.patch().kernel(), &options, order)?;
    // Numbers of elements are far below 2⁵³.
    Ok(sources
        .index_axis(Axis(0), 0)
        .mapv(|number| number as usize))
}
