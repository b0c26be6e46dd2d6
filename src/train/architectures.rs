//! Networks with a name, for `gemmconv train --arch` and to begin with.

use super::layers::{
    Residual, Sequential, batch_norm, conv, flatten, global_average, linear, max_pool, relu,
    separable,
};
use crate::geometry::PoolOptions;

/// A network with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// Three convolutions of 32, 64 and 64 channels with two maxima of 2 × 2 between, and a layer of 128.
    MnistCnn,
    /// LeNet-5 with ReLU and maxima. (LeCun et al. 1998.)
    Lenet5,
    /// Nine residual blocks of 16, 32 and 64 channels, for images of 32 × 32. (He et al. 2016, section 4.2.)
    Resnet20,
    /// Six depthwise separable convolutions, for small images. (After Howard et al. 2017.)
    MobilenetSmall,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::MnistCnn,
        Self::Lenet5,
        Self::Resnet20,
        Self::MobilenetSmall,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MnistCnn => "mnist-cnn",
            Self::Lenet5 => "lenet5",
            Self::Resnet20 => "resnet20",
            Self::MobilenetSmall => "mobilenet-small",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its layers, for so many classes.
    pub fn layers(self, classes: usize) -> Sequential {
        match self {
            Self::MnistCnn => mnist_cnn(classes),
            Self::Lenet5 => lenet5(classes),
            Self::Resnet20 => resnet20(classes),
            Self::MobilenetSmall => mobilenet_small(classes),
        }
    }
}

fn mnist_cnn(classes: usize) -> Sequential {
    Sequential::new()
        .then(conv(32, 3).padding(1))
        .then(relu())
        .then(conv(64, 3).padding(1))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(conv(64, 3).padding(1))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(flatten())
        .then(linear(128))
        .then(relu())
        .then(linear(classes))
}

fn lenet5(classes: usize) -> Sequential {
    Sequential::new()
        .then(conv(6, 5).padding(2))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(conv(16, 5))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(flatten())
        .then(linear(120))
        .then(relu())
        .then(linear(84))
        .then(relu())
        .then(linear(classes))
}

fn resnet20(classes: usize) -> Sequential {
    let first = conv(16, 3).padding(1).no_bias();
    let mut layers = Sequential::new()
        .then(first)
        .then(batch_norm())
        .then(relu());
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let narrows = stage > 0 && block == 0;
            let stride = if narrows { 2 } else { 1 };
            let body = Sequential::new()
                .then(conv(channels, 3).stride(stride).padding(1).no_bias())
                .then(batch_norm())
                .then(relu())
                .then(conv(channels, 3).padding(1).no_bias())
                .then(batch_norm());
            let mut residual = Residual::new(body);
            if narrows {
                let projection = conv(channels, 1).stride(2).no_bias();
                let shortcut = Sequential::new().then(projection).then(batch_norm());
                residual = residual.shortcut(shortcut);
            }
            layers = layers.then(residual).then(relu());
        }
    }
    layers
        .then(global_average())
        .then(flatten())
        .then(linear(classes))
}

fn mobilenet_small(classes: usize) -> Sequential {
    let mut layers = Sequential::new()
        .then(conv(32, 3).padding(1).no_bias())
        .then(batch_norm())
        .then(relu());
    for (channels, stride) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (256, 1)] {
        layers = layers.then(separable(channels, 3, stride));
    }
    layers
        .then(global_average())
        .then(flatten())
        .then(linear(classes))
}
