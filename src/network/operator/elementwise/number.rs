//! Arithmetic of every element type.
//!
//! ```text
//! integers   two's complement: sums and products wrap, MIN / −1 = MIN; division truncates
//! floats     IEEE; f16 and bf16 compute in f32 and round once
//! ```

use half::{bf16, f16};

use super::convert::Convert;

/// A type with an order. NaN wins against everything.
pub(crate) trait Ordered: Convert + PartialOrd {
    /// What a maximum starts from.
    const LOWEST: Self;
    /// What a minimum starts from.
    const HIGHEST: Self;
    /// The larger of the two.
    fn larger(self, other: Self) -> Self;
    /// The smaller of the two.
    fn smaller(self, other: Self) -> Self;
}

/// A type that can be computed with.
pub(crate) trait Number: Ordered {
    /// Whether division by zero has no value.
    const INTEGER: bool;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// The quotient; of integers truncated, and zero where `other` is.
    fn over(self, other: Self) -> Self;
    /// The remainder with the sign of `self`; zero for an integer zero `other`.
    fn remainder(self, other: Self) -> Self;
    /// The remainder with the sign of `other`; zero for an integer zero `other`.
    fn modulo(self, other: Self) -> Self;
    /// |self|; of the smallest integer itself.
    fn magnitude(self) -> Self;
    /// −1, 0 or 1.
    fn sign(self) -> Self;
}

/// An integer as bits.
pub(crate) trait Integer: Number {
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn complement(self) -> Self;
    /// Shifted towards the higher bits; zero where all bits leave.
    fn left(self, bits: Self) -> Self;
    /// Shifted towards the lower bits; zero where all bits leave.
    fn right(self, bits: Self) -> Self;
    fn to_i128(self) -> i128;
    /// The low bits.
    fn from_i128(value: i128) -> Self;
}

impl Ordered for bool {
    const LOWEST: Self = false;
    const HIGHEST: Self = true;
    fn larger(self, other: Self) -> Self {
        self | other
    }
    fn smaller(self, other: Self) -> Self {
        self & other
    }
}

/// `base` to the power `exponent` modulo 2 to the number of bits; to a negative power truncated, and zero for zero.
pub(crate) fn integer_power<T: Number>(base: T, exponent: i128) -> T {
    if exponent < 0 {
        let minus_one = T::ZERO.minus(T::ONE);
        return match () {
            () if base == T::ONE => T::ONE,
            () if base == minus_one && minus_one < T::ZERO && exponent % 2 == 0 => T::ONE,
            () if base == minus_one && minus_one < T::ZERO => minus_one,
            () => T::ZERO,
        };
    }
    let (mut power, mut square, mut left) = (T::ONE, base, exponent);
    while left > 0 {
        if left % 2 == 1 {
            power = power.times(square);
        }
        square = square.times(square);
        left /= 2;
    }
    power
}

macro_rules! integers {
    ($($type:ident, $magnitude:ident, $sign:expr;)*) => {
        $(
            impl Ordered for $type {
                const LOWEST: Self = Self::MIN;
                const HIGHEST: Self = Self::MAX;
                fn larger(self, other: Self) -> Self {
                    self.max(other)
                }
                fn smaller(self, other: Self) -> Self {
                    self.min(other)
                }
            }

            impl Number for $type {
                const INTEGER: bool = true;
                const ZERO: Self = 0;
                const ONE: Self = 1;
                fn plus(self, other: Self) -> Self {
                    self.wrapping_add(other)
                }
                fn minus(self, other: Self) -> Self {
                    self.wrapping_sub(other)
                }
                fn times(self, other: Self) -> Self {
                    self.wrapping_mul(other)
                }
                fn over(self, other: Self) -> Self {
                    if other == 0 { 0 } else { self.wrapping_div(other) }
                }
                fn remainder(self, other: Self) -> Self {
                    if other == 0 { 0 } else { self.wrapping_rem(other) }
                }
                fn modulo(self, other: Self) -> Self {
                    let remainder = self.remainder(other);
                    let differ = (remainder < Self::ZERO) != (other < Self::ZERO);
                    if remainder != 0 && differ { remainder.wrapping_add(other) } else { remainder }
                }
                fn magnitude(self) -> Self {
                    self.$magnitude()
                }
                fn sign(self) -> Self {
                    $sign(self)
                }
            }

            impl Integer for $type {
                fn and(self, other: Self) -> Self {
                    self & other
                }
                fn or(self, other: Self) -> Self {
                    self | other
                }
                fn xor(self, other: Self) -> Self {
                    self ^ other
                }
                fn complement(self) -> Self {
                    !self
                }
                fn left(self, bits: Self) -> Self {
                    let bits = u32::try_from(bits).unwrap_or(u32::MAX);
                    self.checked_shl(bits).unwrap_or(0)
                }
                fn right(self, bits: Self) -> Self {
                    let bits = u32::try_from(bits).unwrap_or(u32::MAX);
                    self.checked_shr(bits).unwrap_or(0)
                }
                fn to_i128(self) -> i128 {
                    self.into()
                }
                fn from_i128(value: i128) -> Self {
                    value as $type
                }
            }
        )*
    };
}

integers! {
    i8, wrapping_abs, i8::signum;
    i16, wrapping_abs, i16::signum;
    i32, wrapping_abs, i32::signum;
    i64, wrapping_abs, i64::signum;
    u8, into, |x: u8| x.min(1);
    u16, into, |x: u16| x.min(1);
    u32, into, |x: u32| x.min(1);
    u64, into, |x: u64| x.min(1);
}

macro_rules! floats {
    ($($type:ident, $wide:ident, $widen:expr, $narrow:expr, $zero:expr, $one:expr;)*) => {
        $(
            impl Ordered for $type {
                const LOWEST: Self = Self::NEG_INFINITY;
                const HIGHEST: Self = Self::INFINITY;
                #[inline(always)]
                fn larger(self, other: Self) -> Self {
                    if self > other || self.is_nan() { self } else { other }
                }
                #[inline(always)]
                fn smaller(self, other: Self) -> Self {
                    if self < other || self.is_nan() { self } else { other }
                }
            }

            impl Number for $type {
                const INTEGER: bool = false;
                const ZERO: Self = $zero;
                const ONE: Self = $one;
                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    $narrow($widen(self) + $widen(other))
                }
                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    $narrow($widen(self) - $widen(other))
                }
                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    $narrow($widen(self) * $widen(other))
                }
                #[inline(always)]
                fn over(self, other: Self) -> Self {
                    $narrow($widen(self) / $widen(other))
                }
                fn remainder(self, other: Self) -> Self {
                    $narrow($widen(self) % $widen(other))
                }
                fn modulo(self, other: Self) -> Self {
                    let (other, remainder) = ($widen(other), $widen(self) % $widen(other));
                    let differ = (remainder < 0.0) != (other < 0.0);
                    $narrow(if remainder != 0.0 && differ { remainder + other } else { remainder })
                }
                fn magnitude(self) -> Self {
                    $narrow($widen(self).abs())
                }
                fn sign(self) -> Self {
                    let x = $widen(self);
                    $narrow(if x == 0.0 || x.is_nan() { x } else { x.signum() })
                }
            }
        )*
    };
}

floats! {
    f32, f32, |x: f32| x, |x: f32| x, 0.0, 1.0;
    f64, f64, |x: f64| x, |x: f64| x, 0.0, 1.0;
    f16, f32, f16::to_f32, f16::from_f32, f16::ZERO, f16::ONE;
    bf16, f32, bf16::to_f32, bf16::from_f32, bf16::ZERO, bf16::ONE;
}

/// `$body` with `$T` as the Rust type that the [`DType`](crate::network::DType) `$dtype` names, unless that is bool.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr, $otherwise:expr) => {
        match $dtype {
            $crate::network::DType::Bool => $otherwise,
            $crate::network::DType::F32 => { type $T = f32; $body }
            $crate::network::DType::F64 => { type $T = f64; $body }
            $crate::network::DType::F16 => { type $T = half::f16; $body }
            $crate::network::DType::Bf16 => { type $T = half::bf16; $body }
            dtype => $crate::network::operator::elementwise::with_integer!(dtype, $T => $body, $otherwise),
        }
    };
}

/// The same unless it is no integer.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr, $otherwise:expr) => {
        match $dtype {
            $crate::network::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::network::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::network::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::network::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::network::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::network::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::network::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::network::DType::U64 => {
                type $T = u64;
                $body
            }
            _ => $otherwise,
        }
    };
}
pub(crate) use {with_integer, with_number};
