//! MaxPool, AveragePool, LpPool and their global forms, through [`crate::pool`].

use std::sync::Arc;

use super::super::check::{at_most, has_axes, has_type, read, required, write};
use super::super::{Fact, Facts, Operator, Step};
use super::backward::PoolBackward;
use super::extremes::{Extremes, Order};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::geometry::{Axis, Layout, PoolGeometry, PoolOptions};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;
use crate::pool::{avg_pool_into, lp_pool_into, max_pool_into, max_pool_taps_into, window_taps};

/// The types of elements that are pooled by vectors.
const FLOATS: [DType; 2] = [DType::F32, DType::F64];

/// The type of a number of a tap.
pub(super) fn tap_type(geometry: &PoolGeometry) -> DType {
    match window_taps(geometry) {
        0..=256 => DType::U8,
        _ => DType::U32,
    }
}

/// One number for each window of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub(super) kind: Kind,
    /// `None` for one window, the whole image.
    pub(crate) windows: Option<PoolOptions>,
    pub(crate) layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// With a second output, the indices of the maxima, where an order is given.
    Max(Option<Order>),
    /// With a second output, the number of the tap of each maximum: u8, or u32 where windows have more taps than that.
    /// For f32 and f64; other types have none.
    MaxWithTaps,
    Average,
    Lp(f64),
}

impl Pool {
    fn new(kind: Kind, windows: Option<PoolOptions>) -> Self {
        Self {
            kind,
            windows,
            layout: Layout::ChannelsFirst,
        }
    }

    /// The maximum of every window.
    pub fn max(windows: PoolOptions) -> Self {
        Self::new(Kind::Max(None), Some(windows))
    }

    /// The maximum of every window, and as a second output where it is in the whole input: in row-major order, or with
    /// the spatial axes of a plane in column-major order.
    pub fn max_with_indices(windows: PoolOptions, column_major: bool) -> Self {
        let order = match column_major {
            true => Order::ColumnMajor,
            false => Order::RowMajor,
        };
        Self::new(Kind::Max(Some(order)), Some(windows))
    }

    /// The average of every window.
    pub fn average(windows: PoolOptions) -> Self {
        Self::new(Kind::Average, Some(windows))
    }

    /// (Σ |x|ᵖ)^(1/p) of every window.
    pub fn lp(windows: PoolOptions, p: f64) -> Self {
        Self::new(Kind::Lp(p), Some(windows))
    }

    /// The maximum of every channel.
    pub fn global_max() -> Self {
        Self::new(Kind::Max(None), None)
    }

    /// The average of every channel.
    pub fn global_average() -> Self {
        Self::new(Kind::Average, None)
    }

    /// (Σ |x|ᵖ)^(1/p) of every channel.
    pub fn global_lp(p: f64) -> Self {
        Self::new(Kind::Lp(p), None)
    }

    fn geometry(&self, inputs: &Facts) -> Result<PoolGeometry> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "X")?;
        has_axes(input, "X", 3)?;
        match self.kind {
            Kind::Max(_) | Kind::MaxWithTaps => has_type(input, "X", &Extremes::TYPES)?,
            Kind::Average => has_type(input, "X", &FLOATS)?,
            Kind::Lp(p) => {
                has_type(input, "X", &FLOATS)?;
                if !(p.is_finite() && p >= 1.0) {
                    return Err(Error::Attribute {
                        name: "p".to_owned(),
                        expected: "a number from 1 on".to_owned(),
                        got: p.to_string(),
                    });
                }
            }
        }
        self.sizes(&input.shape)
    }

    /// For an input of this shape.
    pub(super) fn sizes(&self, shape: &[usize]) -> Result<PoolGeometry> {
        match &self.windows {
            Some(windows) => PoolGeometry::new(shape, &windows.clone().layout(self.layout)),
            None => PoolGeometry::global(shape, self.layout),
        }
    }
}

/// What a file says of it.
#[cfg(feature = "onnx")]
impl Pool {
    /// The exponent of an Lp norm.
    pub(crate) fn exponent(&self) -> Option<f64> {
        match self.kind {
            Kind::Lp(p) => Some(p),
            _ => None,
        }
    }

    /// Whether there are indices, counted with the spatial axes of a plane in column-major order.
    pub(crate) fn column_major(&self) -> bool {
        self.kind == Kind::Max(Some(Order::ColumnMajor))
    }
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        match (self.kind, &self.windows) {
            (Kind::Max(_) | Kind::MaxWithTaps, Some(_)) => "MaxPool",
            (Kind::Average, Some(_)) => "AveragePool",
            (Kind::Lp(_), Some(_)) => "LpPool",
            (Kind::Max(_) | Kind::MaxWithTaps, None) => "GlobalMaxPool",
            (Kind::Average, None) => "GlobalAveragePool",
            (Kind::Lp(_), None) => "GlobalLpPool",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let (shape, input) = (geometry.output_shape(), required(inputs, 0, "X")?);
        let mut facts = vec![Fact::new(input.dtype, shape.clone())];
        match self.kind {
            Kind::Max(Some(_)) => facts.push(Fact::new(DType::I64, shape)),
            Kind::MaxWithTaps if FLOATS.contains(&input.dtype) => {
                facts.push(Fact::new(tap_type(&geometry), shape));
            }
            _ => {}
        }
        Ok(facts)
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        // Indices are counted over the whole batch.
        first_alone(batched) && !matches!(self.kind, Kind::Max(Some(_)))
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (geometry, dtype) = (self.geometry(inputs)?, required(inputs, 0, "X")?.dtype);
        Ok(match (self.kind, dtype) {
            (Kind::Max(order @ Some(_)), _) => Box::new(Extremes::new(geometry, dtype, order)),
            (kind, DType::F32 | DType::F64) => Box::new(Pooling {
                kind,
                geometry,
                dtype,
            }),
            (..) => Box::new(Extremes::new(geometry, dtype, None)),
        })
    }

    fn window(&self, inputs: &Facts) -> Option<Vec<Axis>> {
        self.windows.as_ref()?;
        self.geometry(inputs).ok()?.sliding()
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
            ..self.clone()
        }))
    }

    fn keeping(&self) -> Option<Arc<dyn Operator>> {
        let keeping = Self {
            kind: Kind::MaxWithTaps,
            ..self.clone()
        };
        (self.kind == Kind::Max(None)).then(|| Arc::new(keeping) as Arc<dyn Operator>)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, dy) = (backward.input(0)?, backward.d_output()?);
        let inputs = match self.kind {
            Kind::Average => vec![dy],
            Kind::MaxWithTaps => vec![backward.output(1)?, dy],
            Kind::Lp(_) => vec![x, backward.output(0)?, dy],
            Kind::Max(_) => return Err(backward.unsupported()),
        };
        let spatial = self.layout.parts(&backward.fact(x)?.shape).2.to_vec();
        let gradient = backward.node(PoolBackward::new(self.clone(), spatial), &inputs)?;
        backward.give(0, gradient)
    }
}

struct Pooling {
    kind: Kind,
    geometry: PoolGeometry,
    dtype: DType,
}

impl Pooling {
    fn pool<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let x: &[T] = read(inputs, 0)?;
        match self.kind {
            Kind::MaxWithTaps => {
                let (y, taps) = outputs.split_at_mut(1);
                let y = write(y, 0)?;
                match tap_type(&self.geometry) {
                    DType::U8 => max_pool_taps_into::<T, u8>(&self.geometry, x, y, write(taps, 0)?),
                    _ => max_pool_taps_into::<T, u32>(&self.geometry, x, y, write(taps, 0)?),
                }
            }
            Kind::Max(_) => max_pool_into(&self.geometry, x, write(outputs, 0)?),
            Kind::Average => avg_pool_into(&self.geometry, x, write(outputs, 0)?),
            Kind::Lp(p) => lp_pool_into(&self.geometry, p, x, write(outputs, 0)?),
        }
    }
}

impl Step for Pooling {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.pool::<f64>(inputs, outputs),
            _ => self.pool::<f32>(inputs, outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fact, floats, infer, run};
    use super::*;
    use crate::network::operator::Transpose;
    use crate::network::{Scalar, Tensor};

    fn image(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (0..len).map(|i| ((i * 7919) % 257) as f32 - 128.0))
    }

    fn turn(x: &Tensor) -> Tensor {
        let turn = Transpose::to_channels_last(x.shape().len());
        run(&turn, std::slice::from_ref(x)).unwrap().remove(0)
    }

    /// The inputs are small integers: sums are exact, and both layouts agree in every bit.
    #[test]
    fn both_layouts_agree() {
        let three = PoolOptions::new(3).stride(2).padding(1);
        let pools = [
            Pool::max(three.clone().ceil_mode(true)),
            Pool::max_with_indices(three.clone(), false),
            Pool::max_with_indices(three.clone(), true),
            Pool::average(three.clone().count_include_pad(false).ceil_mode(true)),
            Pool::average(three.dilation(2).stride(1)),
            Pool::lp(PoolOptions::new(2), 1.0),
            Pool::global_max(),
            Pool::global_average(),
            Pool::global_lp(2.0),
        ];
        for pool in &pools {
            for shape in [
                &[2, 5, 9][..],
                &[2, 19, 8, 7],
                &[1, 3, 5, 6, 7],
                &[0, 3, 4, 4],
            ] {
                let x = image(shape);
                let first = run(pool, std::slice::from_ref(&x)).unwrap();
                let last = pool.channels_last(&[]).unwrap();
                let last = run(&*last, &[turn(&x)]).unwrap();
                for (first, last) in first.iter().zip(&last) {
                    assert_eq!(turn(first), *last, "{pool:?} {shape:?}");
                }
            }
        }
    }

    #[test]
    fn maxima_of_bytes_and_their_places() {
        let x =
            ndarray::Array4::from_shape_vec((1, 2, 2, 2), vec![1i8, -3, 7, 7, -9, -8, -8, -128]);
        let x: Tensor = x.unwrap().into_dyn().into();
        let pool = Pool::max_with_indices(PoolOptions::new([2, 1]).stride(1), false);
        let y = run(&pool, std::slice::from_ref(&x)).unwrap();
        assert_eq!(y[0].view().len(), 4);
        assert_eq!(i8::slice(y[0].view()).unwrap(), [7, 7, -8, -8]);
        assert_eq!(y[1].integers().unwrap(), [2, 3, 6, 5]);
        let pool = Pool::max_with_indices(PoolOptions::new([2, 1]).stride(1), true);
        assert_eq!(
            run(&pool, &[x]).unwrap()[1].integers().unwrap(),
            [1, 3, 5, 6]
        );
    }

    #[test]
    fn what_cannot_be_pooled_is_refused() {
        let pool = Pool::max(PoolOptions::new(2));
        for shape in [&[][..], &[4, 4], &[1, 1, 1, 1], &[1, 1, 0, 2], &[1; 6]] {
            assert!(infer(&pool, &[&fact(shape)]).is_err(), "{shape:?}");
        }
        let x = fact(&[1, 1, 4, 4]);
        let windows = [
            PoolOptions::new([2, 2, 2]),
            PoolOptions::new(0),
            PoolOptions::new(2).padding(2),
            PoolOptions::new(1 << 31),
            PoolOptions::new(i64::MAX as usize),
        ];
        for windows in windows {
            assert!(infer(&Pool::max(windows), &[&x]).is_err());
        }
        let mut integers = fact(&[1, 1, 4, 4]);
        integers.dtype = DType::I64;
        assert!(infer(&pool, &[&integers]).is_err());
        assert!(infer(&Pool::global_average(), &[&integers]).is_err());
        assert!(infer(&Pool::global_lp(0.0), &[&x]).is_err());
    }
}
