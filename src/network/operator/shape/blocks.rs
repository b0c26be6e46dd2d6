//! Channels and pixels in each other's place, and images cut or bordered: DepthToSpace, SpaceToDepth, CenterCropPad.
//!
//! ```text
//! DepthToSpace   [N, C·b·b, H, W] -> [N, C, H·b, W·b]      a block of b × b pixels from b · b channels
//! SpaceToDepth   [N, C, H·b, W·b] -> [N, b·b·C, H, W]      and back
//! CenterCropPad  each axis cut or filled with zeros at both ends to a size; the odd element at the end
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, axes, integers, optional, read, required, sizes, turned_axis, write, wrong,
    wrong_attribute,
};
use super::super::strided::{Strided, strides};
use super::super::{Fact, Facts, Operator, Step};
use super::transpose::Moved;
use crate::error::{Result, product};
use crate::geometry::Layout;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// Blocks of channels as blocks of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    pub(crate) block: usize,
    /// Whether the block is what varies slowest among the channels (DCR) or fastest (CRD).
    pub(crate) blocks_first: bool,
    pub(crate) layout: Layout,
}

impl DepthToSpace {
    /// Blocks of `block` × `block` pixels; `blocks_first` where the channels count blocks before what stays a channel
    /// (mode DCR), not after it (CRD).
    pub fn new(block: usize, blocks_first: bool) -> Self {
        Self {
            block,
            blocks_first,
            layout: Layout::ChannelsFirst,
        }
    }
}

/// Blocks of pixels as blocks of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    pub(crate) block: usize,
    /// As in [`DepthToSpace`].
    blocks_first: bool,
    pub(crate) layout: Layout,
}

impl SpaceToDepth {
    /// Blocks of `block` × `block` pixels, which the channels count before what was a channel.
    pub fn new(block: usize) -> Self {
        Self {
            block,
            blocks_first: true,
            layout: Layout::ChannelsFirst,
        }
    }
}

/// `[N, C, H, W]` of an image in `layout`.
fn image(fact: &Fact, layout: Layout) -> Result<[usize; 4]> {
    match (<[usize; 4]>::try_from(&fact.shape[..]), layout) {
        (Ok(shape), Layout::ChannelsFirst) => Ok(shape),
        (Ok([n, h, w, c]), Layout::ChannelsLast) => Ok([n, c, h, w]),
        (Err(_), _) => Err(wrong(
            "input",
            "of 4 axes",
            format!("of shape {:?}", fact.shape),
        )),
    }
}

fn in_layout([n, c, h, w]: [usize; 4], layout: Layout) -> [usize; 4] {
    match layout {
        Layout::ChannelsFirst => [n, c, h, w],
        Layout::ChannelsLast => [n, h, w, c],
    }
}

/// b², or an error.
fn area(block: usize) -> Result<usize> {
    match block {
        0 => Err(wrong_attribute("blocksize", "1 or more", 0)),
        _ => product("blocksize", &[block, block]),
    }
}

/// The copy from blocks of channels `[n, c · b · b, h, w]` to blocks of pixels, or back.
fn copy(
    [n, c, h, w]: [usize; 4],
    block: usize,
    blocks_first: bool,
    layout: Layout,
    to_space: bool,
) -> Result<Strided> {
    // Both sides by n, c, y, block row, x, block column.
    let deep = in_layout([n, c * block * block, h, w], layout);
    let wide = in_layout([n, c, h * block, w * block], layout);
    let (deep_strides, wide_strides) = (strides(&deep)?, strides(&wide)?);
    let of = |strides: &[isize]| match layout {
        Layout::ChannelsFirst => [strides[0], strides[1], strides[2], strides[3]],
        Layout::ChannelsLast => [strides[0], strides[3], strides[1], strides[2]],
    };
    // The address space holds the arrays, so that these fit.
    let (b, count) = (block as isize, c as isize);
    let [sn, sc, sy, sx] = of(&deep_strides);
    let deep = match blocks_first {
        true => [sn, sc, sy, sc * b * count, sx, sc * count],
        false => [sn, sc * b * b, sy, sc * b, sx, sc],
    };
    let [sn, sc, sy, sx] = of(&wide_strides);
    let wide = [sn, sc, sy * b, sy, sx * b, sx];
    let lengths = [n, c, h, block, w, block];
    // The axes in the order of the target.
    let (source, order) = match (to_space, layout, blocks_first) {
        (true, Layout::ChannelsFirst, _) => (deep, [0, 1, 2, 3, 4, 5]),
        (true, Layout::ChannelsLast, _) => (deep, [0, 2, 3, 4, 5, 1]),
        (false, Layout::ChannelsFirst, true) => (wide, [0, 3, 5, 1, 2, 4]),
        (false, Layout::ChannelsFirst, false) => (wide, [0, 1, 3, 5, 2, 4]),
        (false, Layout::ChannelsLast, true) => (wide, [0, 2, 4, 3, 5, 1]),
        (false, Layout::ChannelsLast, false) => (wide, [0, 2, 4, 1, 3, 5]),
    };
    let axes = order.map(|axis| (lengths[axis], source[axis]));
    Strided::new(0, &axes, product("input", &lengths)?)
}

impl Operator for DepthToSpace {
    fn name(&self) -> &'static str {
        "DepthToSpace"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "input")?;
        let ([n, c, h, w], area) = (image(input, self.layout)?, area(self.block)?);
        if c % area != 0 {
            let expected = format!("a number of channels that {area} divides");
            return Err(wrong("input", expected, c.to_string()));
        }
        let tall = product("output", &[h, self.block])?;
        let wide = product("output", &[w, self.block])?;
        let shape = in_layout([n, c / area, tall, wide], self.layout);
        product("output", &shape)?;
        Ok(vec![Fact::new(input.dtype, shape)])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [n, c, h, w] = image(required(inputs, 0, "input")?, self.layout)?;
        let image = [n, c / area(self.block)?, h, w];
        Moved::step(copy(
            image,
            self.block,
            self.blocks_first,
            self.layout,
            true,
        )?)
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
            ..self.clone()
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let back = SpaceToDepth {
            block: self.block,
            blocks_first: self.blocks_first,
            layout: self.layout,
        };
        let gradient = backward.node(back, &[dy])?;
        backward.give(0, gradient)
    }
}

impl Operator for SpaceToDepth {
    fn name(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "input")?;
        let ([n, c, h, w], area) = (image(input, self.layout)?, area(self.block)?);
        if h % self.block != 0 || w % self.block != 0 {
            let expected = format!("of height and width that {} divides", self.block);
            return Err(wrong("input", expected, format!("{h} × {w}")));
        }
        let deep = product("output", &[c, area])?;
        let shape = in_layout([n, deep, h / self.block, w / self.block], self.layout);
        product("output", &shape)?;
        Ok(vec![Fact::new(input.dtype, shape)])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [n, c, h, w] = image(required(inputs, 0, "input")?, self.layout)?;
        let image = [n, c, h / self.block, w / self.block];
        Moved::step(copy(
            image,
            self.block,
            self.blocks_first,
            self.layout,
            false,
        )?)
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
            ..self.clone()
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let back = DepthToSpace {
            block: self.block,
            blocks_first: self.blocks_first,
            layout: self.layout,
        };
        let gradient = backward.node(back, &[dy])?;
        backward.give(0, gradient)
    }
}

/// Its input cut or bordered with zeros around the centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CenterCropPad {
    pub(crate) axes: Option<Vec<i64>>,
}

impl CenterCropPad {
    /// Inputs: data, the sizes of `axes`, or of all.
    pub fn new(axes: Option<Vec<i64>>) -> Self {
        Self { axes }
    }

    fn shape(&self, inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 2)?;
        let mut shape = required(inputs, 0, "input_data")?.shape.clone();
        let wanted = sizes("shape", &integers(required(inputs, 1, "shape")?, "shape")?)?;
        let places = match &self.axes {
            Some(places) => axes("axes", places, shape.len())?,
            None => (0..shape.len()).collect(),
        };
        if wanted.len() != places.len() {
            let expected = format!("{} sizes, one for each axis", places.len());
            return Err(wrong("shape", expected, wanted.len().to_string()));
        }
        for (&axis, size) in places.iter().zip(wanted) {
            shape[axis] = size;
        }
        Ok(shape)
    }
}

impl Operator for CenterCropPad {
    fn name(&self) -> &'static str {
        "CenterCropPad"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.shape(inputs)?;
        product("output", &shape)?;
        let input = required(inputs, 0, "input_data")?;
        Ok(vec![Fact::new(input.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let input = required(inputs, 0, "input_data")?;
        let shape = self.shape(inputs)?;
        let axes = (input.shape.iter().zip(&shape).zip(strides(&input.shape)?))
            .map(|((&from, &to), stride)| Framed {
                before: to.saturating_sub(from) / 2,
                count: from.min(to),
                length: to,
                skipped: from.saturating_sub(to) / 2 * stride.unsigned_abs(),
                stride: stride.unsigned_abs(),
            })
            .collect();
        Ok(Box::new(Frame {
            dtype: input.dtype,
            axes,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let places: Vec<i64> = match &self.axes {
            Some(places) => places.clone(),
            None => (0..rank as i64).collect(),
        };
        let places = axes("axes", &places, rank).ok()?.into_iter();
        let places = places.map(|axis| turned_axis(axis, rank) as i64).collect();
        Some(Arc::new(Self::new(Some(places))))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// An axis of the output: `before` zeros, `count` elements of the input, zeros.
struct Framed {
    before: usize,
    count: usize,
    length: usize,
    skipped: usize,
    stride: usize,
}

struct Frame {
    dtype: DType,
    axes: Vec<Framed>,
}

impl Step for Frame {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => {
            let output: &mut [T] = write(outputs, 0)?;
            output.fill(T::default());
            fill(&self.axes, read(inputs, 0)?, output);
            Ok(())
        })
    }
}

/// What `axes` leave of `source`, into the middle of `target`.
fn fill<T: Scalar>(axes: &[Framed], source: &[T], target: &mut [T]) {
    let Some((axis, inner)) = axes.split_first() else {
        return target.copy_from_slice(&source[..target.len()]);
    };
    if axis.count == 0 || target.is_empty() {
        return;
    }
    let source = &source[axis.skipped..];
    if inner.is_empty() {
        return target[axis.before..][..axis.count].copy_from_slice(&source[..axis.count]);
    }
    let part = target.len() / axis.length;
    for index in 0..axis.count {
        let target = &mut target[(axis.before + index) * part..][..part];
        fill(inner, &source[index * axis.stride..], target);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        check_gradient, constant, doubles, fact, floats, infer, integers, run,
    };
    use super::*;
    use crate::network::Tensor;
    use crate::network::operator::Transpose;

    fn counted(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (0..len).map(|i| i as f32))
    }

    #[test]
    fn depth_to_space_of_the_specification() {
        let x = counted(&[1, 8, 1, 2]);
        let y = run(&DepthToSpace::new(2, true), std::slice::from_ref(&x)).unwrap();
        let rows = [
            0.0, 4.0, 1.0, 5.0, 8.0, 12.0, 9.0, 13.0, 2.0, 6.0, 3.0, 7.0, 10.0, 14.0, 11.0, 15.0,
        ];
        assert_eq!(y[0], floats(&[1, 2, 2, 4], rows));
        let y = run(&DepthToSpace::new(2, false), &[x]).unwrap();
        let rows = [
            0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0, 8.0, 10.0, 9.0, 11.0, 12.0, 14.0, 13.0, 15.0,
        ];
        assert_eq!(y[0], floats(&[1, 2, 2, 4], rows));
    }

    #[test]
    fn space_to_depth_undoes_it_in_both_layouts() {
        for (shape, block) in [
            ([2, 12, 3, 5], 2),
            ([1, 9, 2, 2], 3),
            ([2, 5, 3, 4], 1),
            ([1, 0, 2, 2], 2),
        ] {
            let x = counted(&shape);
            let last = run(&Transpose::to_channels_last(4), std::slice::from_ref(&x))
                .unwrap()
                .remove(0);
            for blocks_first in [true, false] {
                let there = DepthToSpace::new(block, blocks_first);
                let back = SpaceToDepth {
                    block,
                    blocks_first,
                    layout: Layout::ChannelsFirst,
                };
                let y = run(&there, std::slice::from_ref(&x)).unwrap();
                assert_eq!(run(&back, &y).unwrap()[0], x);
                let there = there.channels_last(&[]).unwrap();
                let turned = run(&*there, std::slice::from_ref(&last)).unwrap();
                assert_eq!(run(&Transpose::to_channels_last(4), &y).unwrap(), turned);
                let back = back.channels_last(&[]).unwrap();
                assert_eq!(run(&*back, &turned).unwrap()[0], last);
            }
        }
        for (shape, block) in [
            (&[1, 6, 2, 2][..], 4),
            (&[1, 4, 2, 2], 0),
            (&[4, 2, 2], 2),
            (&[1, 4, 2, 2], usize::MAX),
        ] {
            assert!(infer(&DepthToSpace::new(block, true), &[&fact(shape)]).is_err());
            assert!(infer(&SpaceToDepth::new(block), &[&fact(shape)]).is_err());
        }
    }

    #[test]
    fn cut_and_bordered_around_the_centre() {
        let x = counted(&[3, 4]);
        let y = run(&CenterCropPad::new(None), &[x.clone(), integers(&[4, 1])]).unwrap();
        assert_eq!(y[0], floats(&[4, 1], [1.0, 5.0, 9.0, 0.0]));
        let y = run(
            &CenterCropPad::new(Some(vec![-1])),
            &[x.clone(), integers(&[7])],
        )
        .unwrap();
        assert_eq!(y[0].shape(), [3, 7]);
        assert_eq!(y[0].array::<f32>().unwrap()[[2, 1]], 8.0);
        assert_eq!(y[0].array::<f32>().unwrap()[[2, 5]], 0.0);
        let none = run(&CenterCropPad::new(None), &[x, integers(&[0, 9])]).unwrap();
        assert_eq!(none[0].shape(), [0, 9]);
        let y = run(
            &CenterCropPad::new(None),
            &[counted(&[0, 2]), integers(&[2, 2])],
        )
        .unwrap();
        assert_eq!(y[0], floats(&[2, 2], [0.0; 4]));
        let x = fact(&[3, 4]);
        assert!(infer(&CenterCropPad::new(None), &[&x, &constant(&[4])]).is_err());
        assert!(
            infer(
                &CenterCropPad::new(Some(vec![0, -2])),
                &[&x, &constant(&[4, 4])]
            )
            .is_err()
        );
        let turned = CenterCropPad::new(Some(vec![1])).channels_last(&[Some(&fact(&[1, 2, 3, 4]))]);
        let turned = turned.unwrap();
        let turned: &dyn std::any::Any = &*turned;
        assert_eq!(
            turned.downcast_ref(),
            Some(&CenterCropPad::new(Some(vec![3])))
        );
    }

    #[test]
    fn gradients_go_back() {
        let deep = doubles(&[2, 8, 2, 3], 1, -1.0, 1.0);
        for blocks_first in [true, false] {
            check_gradient(
                DepthToSpace::new(2, blocks_first),
                std::slice::from_ref(&deep),
                &[0],
            );
        }
        let wide = doubles(&[2, 3, 4, 6], 2, -1.0, 1.0);
        check_gradient(SpaceToDepth::new(2), &[wide], &[0]);
    }
}
