//! Convolutions as layers: dense, depthwise, with a kernel of its own at every position, transposed.

use super::{Build, Layer};
use crate::error::{Result, product};
use crate::geometry::{ConvOptions, Padding, PerAxis, TransposedOptions};
use crate::network::{Conv, ConvTranspose, LocallyConnected, ValueId};
use crate::train::initialise::{Fan, Gain, Initialiser};

/// A convolution; its name is `convN`, its parameters `convN.weight` and `convN.bias`.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    outputs: Option<usize>,
    kernel: PerAxis,
    options: ConvOptions,
    depthwise: bool,
    /// Whether every position has a kernel of its own.
    local: bool,
    bias: bool,
    weights: Initialiser,
}

/// A convolution of `outputs` channels.
pub fn conv(outputs: usize, kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        outputs: Some(outputs),
        kernel: kernel.into(),
        options: ConvOptions::new(),
        depthwise: false,
        local: false,
        bias: true,
        weights: Initialiser::KaimingNormal(Fan::In, Gain::Relu),
    }
}

/// A convolution of each channel by itself.
pub fn depthwise(kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        outputs: None,
        depthwise: true,
        ..conv(1, kernel)
    }
}

/// A layer of `outputs` channels with a kernel of its own at every position. ONNX has no operator for it.
pub fn locally_connected(outputs: usize, kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        local: true,
        ..conv(outputs, kernel)
    }
}

impl ConvLayer {
    /// Sets the padding.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options = self.options.padding(padding);
        self
    }

    /// Sets the stride.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.options = self.options.stride(stride);
        self
    }

    /// Sets the dilation.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }

    /// Sets the groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.options = self.options.groups(groups);
        self
    }

    /// Leaves the bias out, as before a batch normalisation.
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Sets how the weights begin; Kaiming normal for a ReLU unless told otherwise, the bias at 0.
    pub fn weights(mut self, from: Initialiser) -> Self {
        self.weights = from;
        self
    }

    /// The layer with a kernel of its own at every position.
    fn add_local(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let outputs = self.outputs.unwrap_or(build.channels(x)?);
        let operator = LocallyConnected::new(kernel, self.options.clone());
        let geometry = operator.geometry(build.shape(x)?, outputs)?;
        let (positions, patch) = (geometry.positions(), geometry.patch_len());
        let neurons = product("a locally connected layer", &[positions, outputs])?;
        let name = build.name("local");
        let (shape, drawn) = ([positions, outputs, patch], [neurons, patch]);
        let weight = format!("{name}.weight");
        let mut given = vec![x, build.weight_like(weight, &shape, &drawn, self.weights)?];
        if self.bias {
            let bias = format!("{name}.bias");
            given.push(build.weight(bias, &shape[..2], Initialiser::Constant(0.0))?);
        }
        build.node(name, operator, &given)
    }
}

/// The axes behind batch and channels.
fn spatial(build: &Build, x: ValueId) -> Result<usize> {
    Ok(build.shape(x)?.len().saturating_sub(2))
}

/// The kernel for an input of so many spatial axes.
fn taps(kernel: &PerAxis, rank: usize) -> Result<Vec<usize>> {
    (0..rank)
        .map(|axis| kernel.get("kernel size", rank, axis))
        .collect()
}

impl Layer for ConvLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        if self.local {
            return self.add_local(build, x);
        }
        let channels = build.channels(x)?;
        let mut options = self.options.clone();
        if self.depthwise {
            options.groups = channels;
        }
        let outputs = self.outputs.unwrap_or(channels);
        let inputs = match channels.checked_rem(options.groups) {
            Some(0) => channels / options.groups,
            // The plan finds and says what is wrong.
            _ => channels,
        };
        let name = build.name("conv");
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let shape = [&[outputs, inputs], &kernel[..]].concat();
        let mut given = vec![x];
        given.push(build.weight(format!("{name}.weight"), &shape, self.weights)?);
        if self.bias {
            given.push(build.filled(format!("{name}.bias"), outputs, 0.0)?);
        }
        build.node(name, Conv::new(options), &given)
    }
}

/// A transposed convolution; its parameters are `deconvN.weight`, `[C, O/g, kernel…]`, and `deconvN.bias`.
#[derive(Clone, Debug)]
pub struct TransposedLayer {
    outputs: usize,
    kernel: PerAxis,
    options: TransposedOptions,
}

/// A transposed convolution of `outputs` channels.
pub fn conv_transpose(outputs: usize, kernel: impl Into<PerAxis>) -> TransposedLayer {
    TransposedLayer {
        outputs,
        kernel: kernel.into(),
        options: TransposedOptions::new(),
    }
}

impl TransposedLayer {
    /// Sets stride, padding and the rest.
    pub fn options(mut self, options: TransposedOptions) -> Self {
        self.options = options;
        self
    }
}

impl Layer for TransposedLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let groups = self.options.groups.max(1);
        let name = build.name("deconv");
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let shape = [&[build.channels(x)?, self.outputs / groups], &kernel[..]].concat();
        let from = Initialiser::KaimingNormal(Fan::In, Gain::Relu);
        let weight = build.weight(format!("{name}.weight"), &shape, from)?;
        let bias = build.filled(format!("{name}.bias"), self.outputs, 0.0)?;
        build.node(
            name,
            ConvTranspose::new(self.options.clone()),
            &[x, weight, bias],
        )
    }
}
