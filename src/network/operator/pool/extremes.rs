//! Maxima of any ordered type, and where they are.
//!
//! ```text
//! y[n, c, o…] = max x[n, c, i…] over the window        k[n, c, o…] = its first place, counted over all of x
//! ```
//!
//! Places are counted with the channels first, in both layouts. A window without elements has none: -1.

use super::super::Step;
use super::super::check::{read, write, wrong};
use crate::error::{Result, check_len};
use crate::geometry::{Layout, PoolGeometry, WindowAxis};
use crate::network::tensor::{DType, Scalar, View, ViewMut};

/// In which order the elements of a plane are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    RowMajor,
    ColumnMajor,
}

/// The step: see the file head.
pub(super) struct Extremes {
    geometry: PoolGeometry,
    dtype: DType,
    order: Option<Order>,
}

/// A type with a least element.
trait Ordered: Scalar + PartialOrd {
    const LEAST: Self;
}

macro_rules! ordered {
    ($($type:ty, $least:expr;)*) => {$(
        impl Ordered for $type {
            const LEAST: Self = $least;
        }
    )*};
}
ordered! {
    f32, f32::NEG_INFINITY; f64, f64::NEG_INFINITY; half::f16, half::f16::NEG_INFINITY;
    half::bf16, half::bf16::NEG_INFINITY; i8, i8::MIN; u8, 0;
}

impl Extremes {
    /// The types that there are maxima of.
    pub(super) const TYPES: [DType; 6] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::Bf16,
        DType::I8,
        DType::U8,
    ];

    /// With a second output where there is an order.
    pub(super) fn new(geometry: PoolGeometry, dtype: DType, order: Option<Order>) -> Self {
        Self {
            geometry,
            dtype,
            order,
        }
    }

    fn find<T: Ordered>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let geometry = &self.geometry;
        let x: &[T] = read(inputs, 0)?;
        let (first, second) = outputs.split_at_mut(1);
        let y: &mut [T] = write(first, 0)?;
        let mut places = match self.order {
            Some(_) => Some(write::<i64>(second, 0)?),
            None => None,
        };
        check_len("input", geometry.input_len(), x.len())?;
        check_len("output", geometry.output_len(), y.len())?;
        if let Some(places) = &places {
            check_len("indices", y.len(), places.len())?;
        }
        let (pixels, positions) = (geometry.pixels(), geometry.positions());
        let channels = geometry.channels();
        for plane in 0..geometry.batch() * channels {
            let (image, channel) = (plane / channels, plane % channels);
            // Where element 0 of the plane lies among so many of each, and how far apart they lie.
            let lie = |count: usize| match geometry.layout() {
                Layout::ChannelsFirst => (plane * count, 1),
                Layout::ChannelsLast => (image * count * channels + channel, channels),
            };
            let ((x_first, x_step), (y_first, y_step)) = (lie(pixels), lie(positions));
            for output in 0..positions {
                let (best, place) = self.window(output, |at| x[x_first + at * x_step]);
                let at = y_first + output * y_step;
                y[at] = best;
                if let Some(places) = &mut places {
                    // Within the address space.
                    places[at] = place.map_or(-1, |place| (plane * pixels + place) as i64);
                }
            }
        }
        Ok(())
    }

    /// The maximum of window `output` of a plane and its place.
    fn window<T: Ordered>(&self, output: usize, x: impl Fn(usize) -> T) -> (T, Option<usize>) {
        let axes = self.geometry.axes;
        let [depth, height, width] = axes.map(|axis| axis.input());
        let mut rest = output;
        let mut windows = axes.map(|axis| axis.taps(0));
        for (taps, axis) in windows.iter_mut().zip(&axes).rev() {
            *taps = axis.taps(rest % WindowAxis::output(axis));
            rest /= axis.output();
        }
        let [planes, rows, columns] = windows;
        let (mut best, mut place) = (T::LEAST, None);
        for plane in planes.positions() {
            for row in rows.positions() {
                for column in columns.positions() {
                    let value = x((plane * height + row) * width + column);
                    // The first NaN stays: nothing is larger.
                    #[allow(clippy::eq_op, reason = "NaN is what differs from itself")]
                    let first_nan = value != value && best == best;
                    if place.is_none() || value > best || first_nan {
                        best = value;
                        place = Some(match self.order {
                            Some(Order::ColumnMajor) => plane + depth * (row + height * column),
                            _ => (plane * height + row) * width + column,
                        });
                    }
                }
            }
        }
        (best, place)
    }
}

impl Step for Extremes {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F32 => self.find::<f32>(inputs, outputs),
            DType::F64 => self.find::<f64>(inputs, outputs),
            DType::F16 => self.find::<half::f16>(inputs, outputs),
            DType::Bf16 => self.find::<half::bf16>(inputs, outputs),
            DType::I8 => self.find::<i8>(inputs, outputs),
            DType::U8 => self.find::<u8>(inputs, outputs),
            other => Err(wrong("X", "an ordered type", other.name())),
        }
    }
}
