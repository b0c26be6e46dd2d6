//! Layers made of layers: ways beside each other, and common blocks.

use super::{Build, Layer, Sequential, batch_norm, conv, depthwise, relu};
use crate::error::{Error, Result};
use crate::network::{Binary, Concat, ValueId};

/// Two ways whose results are added: `body(x) + shortcut(x)`. (He et al. 2016.)
pub struct Residual {
    body: Sequential,
    shortcut: Sequential,
}

impl Residual {
    /// `body(x) + x`
    pub fn new(body: Sequential) -> Self {
        Self {
            body,
            shortcut: Sequential::new(),
        }
    }

    /// Sets what x goes through beside the body.
    pub fn shortcut(mut self, shortcut: Sequential) -> Self {
        self.shortcut = shortcut;
        self
    }
}

impl Layer for Residual {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let made = self.body.add(build, x)?;
        let beside = self.shortcut.add(build, x)?;
        let name = build.name("add");
        let (left, right) = (build.shape(made)?, build.shape(beside)?);
        if left != right {
            return Err(Error::Shape {
                what: "the shortcut of a residual block",
                expected: left.to_vec(),
                got: right.to_vec(),
            });
        }
        build.node(name, Binary::Add, &[made, beside])
    }
}

/// Branches beside each other, whose channels are put together: an Inception block. (Szegedy et al. 2015.)
#[derive(Default)]
pub struct Parallel {
    branches: Vec<Sequential>,
}

impl Parallel {
    /// No branches.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more branch.
    pub fn branch(mut self, layers: Sequential) -> Self {
        self.branches.push(layers);
        self
    }
}

impl Layer for Parallel {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let branches = self.branches.iter();
        let made = branches
            .map(|branch| branch.add(build, x))
            .collect::<Result<Vec<_>>>()?;
        let name = build.name("concat");
        build.node(name, Concat::new(1), &made)
    }
}

/// A depthwise convolution and one of a single tap behind it, each followed by a batch normalisation and a ReLU.
/// (Howard et al. 2017.)
pub fn separable(outputs: usize, kernel: usize, stride: usize) -> Sequential {
    let first = depthwise(kernel)
        .stride(stride)
        .padding(kernel / 2)
        .no_bias();
    let second = conv(outputs, 1).no_bias();
    Sequential::new()
        .then(first)
        .then(batch_norm())
        .then(relu())
        .then(second)
        .then(batch_norm())
        .then(relu())
}
