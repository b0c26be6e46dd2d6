//! A small network with its gradients, from the crate's functions alone.
//!
//! ```text
//! x [N, 3, 48, 48] ──► (convolution ──► ReLU ──► maximum of 2 × 2) four times ──► mean ──► linear ──► softmax
//! ```
//!
//! A layer keeps from its way forward what its gradient needs, as any framework does.

use fastrand::Rng;
use gemmconv::network::{
    Conv, DType, Dim, Gemm, Graph, Pool, Reshape, Softmax, SoftmaxKind, Tensor, Unary, ValueId,
};
use gemmconv::pool::{global_avg_pool_backward, max_pool_backward};
use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, Epilogue, Layout, PlanOptions, PoolOptions,
    PreparedWeights, Result, Wanted, global_avg_pool, max_pool_with_indices,
};
use ndarray::{Array, Array1, Array2, Array4, Axis, Dimension, Ix1, Ix2, Ix4, Zip};

/// The side of the pictures.
pub const SIDE: usize = 48;

/// Input channels, output channels and kernel of each convolution.
const BLOCKS: [(usize, usize, usize); 4] = [(3, 8, 5), (8, 16, 3), (16, 32, 3), (32, 64, 3)];

/// Numbers that are learned: w ← w − rate · v, v ← momentum · v + gradient + decay · w.
struct Parameter<D: Dimension> {
    value: Array<f32, D>,
    velocity: Array<f32, D>,
}

impl<D: Dimension> Parameter<D> {
    const MOMENTUM: f32 = 0.9;
    const DECAY: f32 = 1e-4;

    fn new(value: Array<f32, D>) -> Self {
        let velocity = Array::zeros(value.raw_dim());
        Self { value, velocity }
    }

    /// Random numbers of such a size that sums over `inputs` of them keep the size of the inputs behind a ReLU
    /// (Kaiming He and others, 2015).
    fn random(shape: D, inputs: usize, random: &mut Rng) -> Self {
        let bound = (6.0 / inputs as f32).sqrt();
        Self::new(Array::from_shape_simple_fn(shape, || {
            bound * (2.0 * random.f32() - 1.0)
        }))
    }

    fn step(&mut self, gradient: &Array<f32, D>, rate: f32) {
        let values = Zip::from(&mut self.value).and(&mut self.velocity);
        values.and(gradient).for_each(|value, velocity, gradient| {
            *velocity = Self::MOMENTUM * *velocity + gradient + Self::DECAY * *value;
            *value -= rate * *velocity;
        });
    }

    /// Its numbers as a constant of a graph.
    fn constant(&self, graph: &mut Graph, name: String) -> ValueId {
        graph.constant(name, Tensor::from(self.value.clone().into_dyn()))
    }
}

/// Convolution, ReLU, maximum of 2 × 2.
struct Block {
    weight: Parameter<Ix4>,
    bias: Parameter<Ix1>,
    plan: ConvPlan<f32>,
    options: ConvOptions,
}

/// What a block keeps for its gradient.
struct Kept {
    weights: PreparedWeights<f32>,
    input: Array4<f32>,
    /// Behind the ReLU.
    positive: Array4<f32>,
    /// Where the maxima are.
    indices: Array4<usize>,
}

impl Block {
    fn new(
        batch: usize,
        side: usize,
        (inputs, outputs, kernel): (usize, usize, usize),
        random: &mut Rng,
    ) -> Result<Self> {
        let shape = [outputs, inputs, kernel, kernel];
        let options = ConvOptions::new().padding(kernel / 2);
        let geometry = ConvGeometry::new(&[batch, inputs, side, side], &shape, &options)?;
        Ok(Self {
            weight: Parameter::random(
                Ix4(outputs, inputs, kernel, kernel),
                inputs * kernel * kernel,
                random,
            ),
            bias: Parameter::new(Array1::zeros(outputs)),
            // One plan for all steps: it holds sizes, not weights.
            plan: ConvPlan::new(&geometry, &PlanOptions::new())?,
            options,
        })
    }

    fn pool() -> PoolOptions {
        PoolOptions::new(2)
    }

    fn forward(&self, input: Array4<f32>) -> Result<(Array4<f32>, Kept)> {
        let weights = self.plan.prepare(&self.weight.value)?;
        let bias = self.bias.value.as_slice().expect("one axis, made here");
        let epilogue = Epilogue::none().bias(bias).activation(Activation::Relu);
        let positive = self.plan.forward(&input, &weights, &epilogue)?;
        let (output, indices) = max_pool_with_indices(&positive, &Self::pool())?;
        let kept = Kept {
            weights,
            input,
            positive,
            indices,
        };
        Ok((output, kept))
    }

    /// Learns from the gradient of the output, and gives that of the input where it is wanted.
    fn backward(
        &mut self,
        kept: &Kept,
        d_output: &Array4<f32>,
        wanted: Wanted,
        rate: f32,
    ) -> Result<Option<Array4<f32>>> {
        let shape = kept.positive.shape();
        let mut d_sums = max_pool_backward(d_output, &kept.indices, shape, &Self::pool())?;
        // Where the ReLU gave 0, nothing goes back.
        d_sums.zip_mut_with(&kept.positive, |d_sum, &positive| {
            if positive <= 0.0 {
                *d_sum = 0.0;
            }
        });
        let gradients = self
            .plan
            .backward(&kept.input, &kept.weights, &d_sums, wanted)?;
        if let Some(d_weight) = gradients.d_weight {
            self.weight.step(&d_weight, rate);
        }
        if let Some(d_bias) = gradients.d_bias {
            self.bias.step(&Array1::from(d_bias), rate);
        }
        Ok(gradients.d_input)
    }
}

/// The network, for batches of one size.
pub struct Classifier {
    blocks: Vec<Block>,
    /// `[classes, channels]`
    weight: Parameter<Ix2>,
    bias: Parameter<Ix1>,
}

impl Classifier {
    /// With random weights, for `batch` pictures at a time.
    pub fn new(batch: usize, classes: usize, random: &mut Rng) -> Result<Self> {
        let mut side = SIDE;
        let mut blocks = Vec::new();
        for sizes in BLOCKS {
            blocks.push(Block::new(batch, side, sizes, random)?);
            side /= 2;
        }
        let (_, channels, _) = BLOCKS[BLOCKS.len() - 1];
        Ok(Self {
            blocks,
            weight: Parameter::random(Ix2(classes, channels), channels, random),
            bias: Parameter::new(Array1::zeros(classes)),
        })
    }

    /// How many numbers are learned.
    pub fn parameters(&self) -> usize {
        let blocks = self.blocks.iter();
        let blocks = blocks.map(|block| block.weight.value.len() + block.bias.value.len());
        blocks.sum::<usize>() + self.weight.value.len() + self.bias.value.len()
    }

    /// What the last block gives, and what each keeps.
    fn features(&self, pictures: Array4<f32>) -> Result<(Array4<f32>, Vec<Kept>)> {
        let mut kept = Vec::new();
        let mut values = pictures;
        for block in &self.blocks {
            let (output, more) = block.forward(values)?;
            values = output;
            kept.push(more);
        }
        Ok((values, kept))
    }

    /// The mean of each channel, `[N, channels]`, and the scores, `[N, classes]`.
    fn head(&self, features: &Array4<f32>) -> Result<(Array2<f32>, Array2<f32>)> {
        let means = global_avg_pool(features, Layout::ChannelsFirst)?;
        let means = means.remove_axis(Axis(3)).remove_axis(Axis(2));
        let scores = means.dot(&self.weight.value.t()) + &self.bias.value;
        Ok((means, scores))
    }

    /// The class of the largest score of each picture.
    pub fn classify(&self, pictures: Array4<f32>) -> Result<Vec<usize>> {
        let (features, _) = self.features(pictures)?;
        let (_, scores) = self.head(&features)?;
        let largest = scores.rows().into_iter().map(|row| {
            let classes = 0..row.len();
            classes
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .unwrap_or(0)
        });
        Ok(largest.collect())
    }

    /// One step of gradient descent on a batch; its mean loss before.
    pub fn learn(&mut self, pictures: Array4<f32>, classes: &[usize], rate: f32) -> Result<f32> {
        let (features, kept) = self.features(pictures)?;
        let (means, scores) = self.head(&features)?;
        let (loss, d_scores) = cross_entropy(scores, classes);

        let d_means = d_scores.dot(&self.weight.value);
        self.weight.step(&d_scores.t().dot(&means), rate);
        self.bias.step(&d_scores.sum_axis(Axis(0)), rate);
        let d_means = d_means.insert_axis(Axis(2)).insert_axis(Axis(3));
        let mut gradient =
            global_avg_pool_backward(&d_means, features.shape(), Layout::ChannelsFirst)?;
        for (index, (block, kept)) in self.blocks.iter_mut().zip(&kept).enumerate().rev() {
            // Nobody asks for the gradient of the pictures.
            let wanted = Wanted {
                input: index > 0,
                ..Wanted::ALL
            };
            if let Some(d_input) = block.backward(kept, &gradient, wanted, rate)? {
                gradient = d_input;
            }
        }
        Ok(loss)
    }

    /// The same network as a graph, for pictures of any number at a time.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        let batch = Dim::Free("N".to_owned());
        let dims = [batch].into_iter().chain([3, SIDE, SIDE].map(Dim::Size));
        let mut value = graph.input("image", DType::F32, Some(dims.collect()));
        for (index, block) in self.blocks.iter().enumerate() {
            let number = index + 1;
            let weight = block
                .weight
                .constant(&mut graph, format!("conv{number}.weight"));
            let bias = block
                .bias
                .constant(&mut graph, format!("conv{number}.bias"));
            let conv = Conv::new(block.options.clone());
            let sums = graph.node(format!("conv{number}"), conv, &[value, weight, bias]);
            let positive = graph.node(format!("relu{number}"), Unary::Relu, &[sums]);
            let pool = Pool::max(Block::pool());
            value = graph.node(format!("pool{number}"), pool, &[positive]);
        }
        let means = graph.node("mean", Pool::global_average(), &[value]);
        let flat = graph.node("flat", Reshape::flatten(1), &[means]);
        let weight = self.weight.constant(&mut graph, "linear.weight".to_owned());
        let bias = self.bias.constant(&mut graph, "linear.bias".to_owned());
        let linear = Gemm::new(1.0, 1.0, false, true);
        let scores = graph.node("scores", linear, &[flat, weight, bias]);
        let softmax = Softmax::new(SoftmaxKind::Softmax, -1);
        let probabilities = graph.node("probabilities", softmax, &[scores]);
        graph.output(probabilities);
        graph
    }
}

/// The mean of −log softmax(scores)[class], and its gradient, (softmax − one-hot) / N.
fn cross_entropy(mut scores: Array2<f32>, classes: &[usize]) -> (f32, Array2<f32>) {
    let batch = classes.len() as f32;
    let mut loss = 0.0;
    for (mut row, &class) in scores.rows_mut().into_iter().zip(classes) {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        row.mapv_inplace(|score| (score - largest).exp());
        let sum = row.sum();
        loss -= (row[class] / sum).ln() / batch;
        row.mapv_inplace(|power| power / sum / batch);
        row[class] -= 1.0 / batch;
    }
    (loss, scores)
}
