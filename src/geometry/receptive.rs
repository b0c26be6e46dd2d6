//! The receptive field of a stack of layers, along one axis.
//!
//! ```text
//! size₀ = 1, jump₀ = 1, start₀ = 0
//! sizeₙ = sizeₙ₋₁ + (extentₙ − 1) · jumpₙ₋₁      jumpₙ = jumpₙ₋₁ · strideₙ
//! startₙ = startₙ₋₁ − pad_beforeₙ · jumpₙ₋₁
//! ```
//!
//! Source: A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural Networks",
//! Distill 2019.

use super::Axis;
use crate::error::{Error, Result, product, sum};

/// What one output element of a stack of layers sees of the input, along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// How many input elements it spans.
    pub size: usize,
    /// How many input elements lie between the fields of neighbouring outputs.
    pub jump: usize,
    /// The first input element of output 0; negative inside the padding.
    pub start: isize,
}

/// The receptive field of `layers`, first layer first, along one axis.
///
/// # Errors
/// A size beyond the address space.
///
/// ```
/// use gemmconv::{Axis, receptive_field};
/// // Two 3-tap layers see what one 5-tap layer sees.
/// let first = Axis::new(0, 32, 3, 1, 1, (1, 1))?;
/// assert_eq!(receptive_field(&[first, first])?.size, 5);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn receptive_field(layers: &[Axis]) -> Result<ReceptiveField> {
    layers
        .iter()
        .try_fold(ReceptiveField::PIXEL, |field, layer| field.after(layer))
}

impl ReceptiveField {
    /// That of the input itself.
    pub const PIXEL: Self = Self {
        size: 1,
        jump: 1,
        start: 0,
    };

    /// The field of `layer`'s outputs, where this is that of its inputs.
    ///
    /// # Errors
    /// A size beyond the address space.
    pub fn after(self, layer: &Axis) -> Result<Self> {
        const WHAT: &str = "receptive field";
        let pad = product(WHAT, &[layer.pad_before, self.jump])?;
        let reach = product(WHAT, &[layer.extent() - 1, self.jump])?;
        Ok(Self {
            size: sum(WHAT, &[self.size, reach])?,
            jump: product(WHAT, &[self.jump, layer.stride])?,
            start: self
                .start
                .checked_sub_unsigned(pad)
                .ok_or(Error::Overflow { what: WHAT })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(kernel: usize, stride: usize, pad: usize) -> Axis {
        Axis::new(0, 1000, kernel, stride, 1, (pad, pad)).unwrap()
    }

    /// Values that the paper's table gives for AlexNet's and VGG-16's last layers.
    #[test]
    fn published_networks() {
        let alexnet = [
            layer(11, 4, 0),
            layer(3, 2, 0),
            layer(5, 1, 2),
            layer(3, 2, 0),
            layer(3, 1, 1),
            layer(3, 1, 1),
            layer(3, 1, 1),
            layer(3, 2, 0),
        ];
        let field = receptive_field(&alexnet).unwrap();
        assert_eq!((field.size, field.jump), (195, 32));
        let mut vgg = Vec::new();
        for convolutions in [2, 2, 3, 3, 3] {
            vgg.extend(vec![layer(3, 1, 1); convolutions]);
            vgg.push(layer(2, 2, 0));
        }
        let field = receptive_field(&vgg).unwrap();
        assert_eq!((field.size, field.jump, field.start), (212, 32, -90));
    }

    #[test]
    fn too_much_is_an_error() {
        let wide = Axis::new(0, 1 << 40, 1 << 39, 1 << 39, 1, (0, 0)).unwrap();
        assert!(receptive_field(&[wide, wide, wide]).is_err());
    }
}
