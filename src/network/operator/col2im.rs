//! Col2Im: patches folded back into images, through [`crate::unfold`].
//!
//! ```text
//! patches [N, C · taps, positions] -> image [N, C, …]           what stands in the padding is dropped
//! ```

use ndarray::ArrayView3;

use super::check::{at_most, has_shape, has_type, integers, read, required, sizes, write, wrong};
use super::{Fact, Facts, Operator, Step};
use crate::element::Element;
use crate::error::{Error, Result, product};
use crate::geometry::{ConvOptions, Layout, PatchGeometry};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;
use crate::unfold::fold_images;

/// The adjoint of taking patches: each is added to the image where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Col2Im {
    options: ConvOptions,
}

impl Col2Im {
    /// Inputs: patches, the spatial sizes of the image, those of a patch. Strides, dilations and padding are those of
    /// the convolution whose patches they are.
    pub fn new(options: ConvOptions) -> Self {
        Self { options }
    }

    fn geometry(&self, inputs: &Facts) -> Result<PatchGeometry> {
        at_most(inputs, 3)?;
        let input = required(inputs, 0, "input")?;
        has_type(input, "input", &[DType::F32, DType::F64])?;
        let of_axes = |index, name| sizes(name, &integers(required(inputs, index, name)?, name)?);
        let image = of_axes(1, "image_shape")?;
        let block = of_axes(2, "block_shape")?;
        if image.len() != block.len() {
            let expected = format!("{} sizes, as many as image_shape", image.len());
            return Err(wrong("block_shape", expected, block.len().to_string()));
        }
        let taps = product("block_shape", &block)?;
        let &[batch, rows, _] = &input.shape[..] else {
            let got = format!("of shape {:?}", input.shape);
            return Err(wrong("input", "of 3 axes", got));
        };
        let channels = rows
            .checked_div(taps)
            .filter(|channels| channels * taps == rows);
        let channels = channels.ok_or_else(|| {
            wrong(
                "input",
                format!("a multiple of {taps} rows, the taps of {block:?}"),
                rows.to_string(),
            )
        })?;
        let shape = Layout::ChannelsFirst.shape(batch, channels, &image);
        let options = self.options.clone().layout(Layout::ChannelsFirst);
        let geometry = PatchGeometry::new(&shape, &block, &options)?;
        let expected = [batch, rows, geometry.positions()];
        has_shape(input, "input", &expected)?;
        Ok(geometry)
    }
}

impl Operator for Col2Im {
    fn name(&self) -> &'static str {
        "Col2Im"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.geometry(inputs)?.input_shape();
        Ok(vec![Fact::new(required(inputs, 0, "input")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(Folding {
            dtype: required(inputs, 0, "input")?.dtype,
            geometry: self.geometry(inputs)?,
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }
}

struct Folding {
    dtype: DType,
    geometry: PatchGeometry,
}

impl Step for Folding {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.fold::<f64>(inputs, outputs),
            _ => self.fold::<f32>(inputs, outputs),
        }
    }
}

impl Folding {
    fn fold<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (patches, image): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
        let geometry = &self.geometry;
        let shape = (geometry.batch(), geometry.patch_len(), geometry.positions());
        let (expected, got) = (shape.0 * shape.1 * shape.2, patches.len());
        let patches = ArrayView3::from_shape(shape, patches).map_err(|_| Error::BufferLength {
            what: "input",
            expected,
            got,
        })?;
        fold_images(geometry, patches, image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{constant, fact, floats, infer, integers, run};
    use super::*;

    #[test]
    fn patches_are_added_where_they_overlap() {
        let x = floats(&[1, 2, 3], [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let y = run(
            &Col2Im::new(ConvOptions::new()),
            &[x.clone(), integers(&[1, 4]), integers(&[1, 2])],
        );
        assert_eq!(
            y.unwrap()[0],
            floats(&[1, 1, 1, 4], [1.0, 12.0, 23.0, 30.0])
        );
        let padded = Col2Im::new(ConvOptions::new().padding([(0, 0), (1, 0)]));
        let y = run(&padded, &[x, integers(&[1, 3]), integers(&[1, 2])]);
        assert_eq!(y.unwrap()[0], floats(&[1, 1, 1, 3], [12.0, 23.0, 30.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let fold = Col2Im::new(ConvOptions::new());
        let x = fact(&[1, 4, 9]);
        let lists = |image: &[i64], block: &[i64]| [constant(image), constant(block)];
        for (image, block) in [
            (&[4, 5][..], &[2, 2][..]),
            (&[4, 4], &[2]),
            (&[4, 4], &[3, 2]),
            (&[4, 4], &[0, 2]),
            (&[4, 4], &[-2, 2]),
            (&[1, 1], &[2, 2]),
            (&[i64::MAX, 4], &[2, 2]),
            (&[4, 4, 1, 1], &[2, 2, 1, 1]),
        ] {
            let [image, block] = lists(image, block);
            assert!(infer(&fold, &[&x, &image, &block]).is_err());
        }
        let [image, block] = lists(&[4, 4], &[2, 2]);
        assert!(infer(&fold, &[&x, &image, &block]).is_ok());
        assert!(infer(&fold, &[&fact(&[4, 9]), &image, &block]).is_err());
    }
}
