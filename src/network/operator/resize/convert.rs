//! Numbers of any type as f64, and back.

use super::super::check::wrong;
use crate::element::reserved;
use crate::error::Result;
use crate::network::tensor::{View, ViewMut};

/// Numbers of any type as f64.
pub(super) fn load(view: View) -> Result<Vec<f64>> {
    let mut values = reserved(view.len())?;
    macro_rules! load {
        ($($float:ident)*; $($integer:ident)*) => {
            match view {
                $(View::$float(list) => values.extend(list.iter().map(|&value| f64::from(value))),)*
                $(View::$integer(list) => values.extend(list.iter().map(|&value| value as f64)),)*
                View::Bool(_) => return Err(wrong("X", "numbers", "bool")),
            }
        };
    }
    load!(F32 F64 F16 Bf16; I8 I16 I32 I64 U8 U16 U32 U64);
    Ok(values)
}

/// f64 as any type: integers are rounded, halves to even, and brought into their range.
pub(super) fn store(values: &[f64], view: &mut ViewMut) -> Result<()> {
    macro_rules! store {
        ($($integer:ident $type:ty),*) => {
            match view {
                ViewMut::F64(list) => list.copy_from_slice(values),
                ViewMut::F32(list) => list.iter_mut().zip(values).for_each(|(y, &x)| *y = x as f32),
                ViewMut::F16(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = half::f16::from_f64(x));
                }
                ViewMut::Bf16(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = half::bf16::from_f64(x));
                }
                ViewMut::Bool(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = x != 0.0);
                }
                $(ViewMut::$integer(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = x.round_ties_even() as $type);
                })*
            }
        };
    }
    store!(I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64);
    Ok(())
}
