//! What happens to an output tile while it is still in the cache.
//!
//! ```text
//! y ← activation(y + bias[channel] + residual)
//! ```

use ndarray::{ArrayView3, ArrayViewMut3, Axis, s};

use super::arrays::singles;
use super::native::Finale;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::geometry::Layout;
use crate::kernel::Map;
use crate::parallel::try_for_each_tile;
use crate::unfold::{planes, planes_mut};

/// A function of one number, applied last. NaN stays NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Activation<T> {
    /// x
    #[default]
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, low), high); ReLU6 is `Clamp { low: 0, high: 6 }`.
    Clamp {
        /// The smallest result.
        low: T,
        /// The largest result.
        high: T,
    },
    /// x where x ≥ 0, slope · x elsewhere.
    LeakyRelu {
        /// The factor below zero.
        slope: T,
    },
}

impl<T: Element> Activation<T> {
    /// The function at `x`.
    #[inline]
    pub fn apply(&self, x: T) -> T {
        // Comparisons, not `max`: every one is false for NaN, which so passes through.
        match *self {
            Self::Identity => x,
            Self::Relu if x < T::ZERO => T::ZERO,
            Self::Relu => x,
            Self::Clamp { low, high } => {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            }
            Self::LeakyRelu { slope } if x < T::ZERO => slope * x,
            Self::LeakyRelu { .. } => x,
        }
    }
}

/// Bias, residual and activation, applied to each output tile before it is left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, T> {
    /// One number an output channel, O in all.
    pub bias: Option<&'a [T]>,
    /// A whole tensor of the output's shape and layout, added before the activation.
    pub residual: Option<&'a [T]>,
    /// The activation.
    pub activation: Activation<T>,
}

impl<'a, T: Element> Epilogue<'a, T> {
    /// Nothing: the plain product.
    pub fn none() -> Self {
        Self::default()
    }
    /// Adds `bias`, one number an output channel.
    pub fn bias(mut self, bias: &'a [T]) -> Self {
        self.bias = Some(bias);
        self
    }
    /// Adds `residual`, a tensor of the output's shape and layout in standard order.
    pub fn residual(mut self, residual: &'a [T]) -> Self {
        self.residual = Some(residual);
        self
    }
    /// Applies `activation` last.
    pub fn activation(mut self, activation: Activation<T>) -> Self {
        self.activation = activation;
        self
    }

    /// The lengths fit an output of `channels` channels and `elements` elements.
    pub(crate) fn check(&self, channels: usize, elements: usize) -> Result<()> {
        check_len("bias", channels, self.bias.map_or(channels, <[T]>::len))?;
        check_len(
            "residual",
            elements,
            self.residual.map_or(elements, <[T]>::len),
        )
    }

    /// The same for the native products.
    pub(super) fn finale(&self) -> Result<Finale<'a>> {
        let single = |value: T| value.to_f64() as f32;
        Ok(Finale {
            bias: self.bias.map(singles).transpose()?,
            residual: self.residual.map(singles).transpose()?,
            map: match self.activation {
                Activation::Identity => Map::Identity,
                Activation::Relu => Map::Clamp {
                    low: 0.0,
                    high: f32::INFINITY,
                },
                Activation::Clamp { low, high } => Map::Clamp {
                    low: single(low),
                    high: single(high),
                },
                Activation::LeakyRelu { slope } => Map::Leaky {
                    slope: single(slope),
                },
            },
        })
    }

    fn is_none(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.activation == Activation::Identity
    }

    /// Applies everything to `tile` (`[images, channels, positions]`), which begins at `origin` of the output.
    pub(crate) fn apply(
        &self,
        origin: [usize; 3],
        residual: Option<&ArrayView3<'_, T>>,
        tile: &mut ArrayViewMut3<'_, T>,
    ) {
        if self.is_none() {
            return;
        }
        let (images, channels, positions) = tile.dim();
        if let Some(residual) = residual {
            let [n, c, p] = origin;
            *tile += &residual.slice(s![n..n + images, c..c + channels, p..p + positions]);
        }
        let bias = self.bias.map(|bias| &bias[origin[1]..origin[1] + channels]);
        let by_channel = tile.strides()[2] == 1 || positions == 1;
        // The innermost of the two is the contiguous one.
        let mut rows = if by_channel {
            tile.view_mut()
        } else {
            tile.view_mut().permuted_axes([0, 2, 1])
        };
        for mut image in rows.outer_iter_mut() {
            for (index, mut row) in image.axis_iter_mut(Axis(0)).enumerate() {
                match bias {
                    Some(bias) if by_channel => {
                        self.map(row.iter_mut(), std::iter::repeat(&bias[index]))
                    }
                    Some(bias) => self.map(row.iter_mut(), bias.iter()),
                    None => self.map(row.iter_mut(), std::iter::repeat(&T::ZERO)),
                }
            }
        }
    }

    /// One loop an activation, so that the choice is made outside it.
    fn map<'r>(&self, row: impl Iterator<Item = &'r mut T>, bias: impl Iterator<Item = &'r T>) {
        let pairs = row.zip(bias);
        match self.activation {
            Activation::Identity => pairs.for_each(|(y, &b)| *y += b),
            Activation::Relu => pairs.for_each(|(y, &b)| *y = Activation::Relu.apply(*y + b)),
            other => pairs.for_each(|(y, &b)| *y = other.apply(*y + b)),
        }
    }
}

/// The epilogue over a whole output (`[images, channels, elements]`), for passes that have no tiles of it.
pub(super) fn epilogue_over<T: Element>(
    layout: Layout,
    shape: [usize; 3],
    epilogue: &Epilogue<'_, T>,
    y: &mut [T],
    parallel: bool,
) -> Result<()> {
    let residual = epilogue
        .residual
        .map(|residual| planes(layout, shape, residual))
        .transpose()?;
    let y = planes_mut(layout, shape, y)?;
    try_for_each_tile(y, [1, shape[1], 1 << 12], parallel, &|origin, mut tile| {
        epilogue.apply(origin, residual.as_ref(), &mut tile);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_at_their_edges() {
        let clamp = Activation::Clamp {
            low: 0.0,
            high: 6.0,
        };
        let leaky = Activation::LeakyRelu { slope: 0.5 };
        assert_eq!([-1.0, 3.0, 7.0].map(|x| clamp.apply(x)), [0.0, 3.0, 6.0]);
        assert_eq!([-2.0, 3.0].map(|x| leaky.apply(x)), [-1.0, 3.0]);
        assert_eq!(
            [-2.0, 3.0].map(|x: f64| Activation::Relu.apply(x)),
            [0.0, 3.0]
        );
        for activation in [clamp, leaky, Activation::Relu, Activation::Identity] {
            assert!(activation.apply(f64::NAN).is_nan());
            assert!(activation.apply(f64::INFINITY) >= 6.0);
        }
    }
}
