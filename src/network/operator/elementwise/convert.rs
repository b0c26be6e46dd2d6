//! Conversions between all element types.
//!
//! ```text
//! float -> float      rounded to nearest, ties to even
//! float -> integer    truncated; beyond the range its nearest end, NaN to 0
//! integer -> integer  the low bits
//! bool                 0 and 1; from numbers, whether it differs from 0
//! ```

use half::{bf16, f16};

use crate::network::tensor::Scalar;

/// A type that every element type can be converted to.
pub(crate) trait Convert: Scalar {
    fn from_i64(value: i64) -> Self;
    fn from_u64(value: u64) -> Self;
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    /// The value as `U`.
    fn convert<U: Convert>(self) -> U;
    /// The nearest f64.
    fn to_f64(self) -> f64 {
        self.convert()
    }
}

macro_rules! primitives {
    ($($type:ident as $wide:ident, $from:ident;)*) => {
        $(
            #[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
            impl Convert for $type {
                #[inline(always)]
                fn from_i64(value: i64) -> Self {
                    value as $type
                }
                #[inline(always)]
                fn from_u64(value: u64) -> Self {
                    value as $type
                }
                #[inline(always)]
                fn from_f32(value: f32) -> Self {
                    value as $type
                }
                #[inline(always)]
                fn from_f64(value: f64) -> Self {
                    value as $type
                }
                #[inline(always)]
                fn convert<U: Convert>(self) -> U {
                    U::$from(self as $wide)
                }
            }
        )*
    };
}

primitives! {
    f32 as f32, from_f32;
    f64 as f64, from_f64;
    i8 as i64, from_i64;
    i16 as i64, from_i64;
    i32 as i64, from_i64;
    i64 as i64, from_i64;
    u8 as i64, from_i64;
    u16 as i64, from_i64;
    u32 as i64, from_i64;
    u64 as u64, from_u64;
}

impl Convert for bool {
    fn from_i64(value: i64) -> Self {
        value != 0
    }
    fn from_u64(value: u64) -> Self {
        value != 0
    }
    fn from_f32(value: f32) -> Self {
        value != 0.0
    }
    fn from_f64(value: f64) -> Self {
        value != 0.0
    }
    fn convert<U: Convert>(self) -> U {
        U::from_i64(self.into())
    }
}

macro_rules! halves {
    ($($type:ident)*) => {
        $(
            impl Convert for $type {
                fn from_i64(value: i64) -> Self {
                    // Integers that f64 does not hold lie between two neighbours of this type by more than it rounds off.
                    Self::from_f64(value as f64)
                }
                fn from_u64(value: u64) -> Self {
                    Self::from_f64(value as f64)
                }
                fn from_f32(value: f32) -> Self {
                    $type::from_f32(value)
                }
                fn from_f64(value: f64) -> Self {
                    $type::from_f64(value)
                }
                fn convert<U: Convert>(self) -> U {
                    U::from_f32(self.to_f32())
                }
            }
        )*
    };
}
halves!(f16 bf16);
