//! Tensors of any element type, and borrowed views of them.
//!
//! A graph carries what its file says: images and weights in f32, shapes in i64, masks in bool. [`Tensor`] owns,
//! [`View`] and [`ViewMut`] borrow the elements in standard (row-major) order; their shape is known beside them.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use crate::element::LINE;
use crate::error::{Error, Result, check_len, product};

mod sealed {
    pub trait Sealed {}
}

/// A type of the elements of a [`Tensor`].
pub trait Scalar:
    sealed::Sealed + Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
    /// Its name at run time.
    const DTYPE: DType;
    /// `tensor` where it has this type.
    fn array(tensor: &Tensor) -> Option<&ArrayD<Self>>;
    /// The elements of `view` where it has this type.
    fn slice<'a>(view: View<'a>) -> Option<&'a [Self]>;
    /// The elements of `view` where it has this type.
    fn slice_mut<'a, 'b>(view: &'a mut ViewMut<'b>) -> Option<&'a mut [Self]>;
    /// A view of `slice`.
    fn view(slice: &[Self]) -> View<'_>;
    /// A view of `slice`.
    fn view_mut(slice: &mut [Self]) -> ViewMut<'_>;
}

macro_rules! scalars {
    ($($variant:ident $type:ty, $name:literal, $doc:literal;)*) => {
        /// The type of the elements of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType {
            $(#[doc = $doc] $variant,)*
        }

        impl DType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, as in Rust.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bytes of an element.
            pub fn bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$type>(),)* }
            }
        }

        /// An array of any element type, in standard order.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Tensor {
            $(#[doc = $doc] $variant(ArrayD<$type>),)*
        }

        impl Tensor {
            /// The type of its elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// Its shape.
            pub fn shape(&self) -> &[usize] {
                match self { $(Self::$variant(array) => array.shape(),)* }
            }

            /// Elements to skip so that the first one begins a cache line; 0 where that cannot be told.
            pub(crate) fn skip_to_line(&self) -> usize {
                match self {
                    $(Self::$variant(array) => {
                        let skip = array.as_ptr().align_offset(LINE);
                        if skip < LINE { skip } else { 0 }
                    })*
                }
            }

            /// Zeros (false).
            ///
            /// Fails with `Overflow` or `Allocation` where there is no room.
            pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self> {
                match dtype { $(DType::$variant => Ok(Self::$variant(filled(shape, <$type>::default())?)),)* }
            }

            /// The same elements in the same order with another shape.
            ///
            /// Fails with `Shape` where that has another number of elements.
            pub fn reshape(self, shape: &[usize]) -> Result<Self> {
                match self { $(Self::$variant(array) => Ok(Self::$variant(reshaped(array, shape)?)),)* }
            }

            /// Its elements.
            pub fn view(&self) -> View<'_> {
                match self { $(Self::$variant(array) => View::$variant(array.as_slice().expect("tensors are in standard order")),)* }
            }

            /// Its elements.
            pub fn view_mut(&mut self) -> ViewMut<'_> {
                match self { $(Self::$variant(array) => ViewMut::$variant(array.as_slice_mut().expect("tensors are in standard order")),)* }
            }
        }

        /// The elements of a tensor in standard order.
        #[derive(Clone, Copy, Debug)]
        pub enum View<'a> {
            $(#[doc = $doc] $variant(&'a [$type]),)*
        }

        impl<'a> View<'a> {
            /// `len` elements from `begin` on; as many as there are.
            pub(crate) fn part(self, begin: usize, len: usize) -> View<'a> {
                match self {
                    $(Self::$variant(slice) => {
                        let rest = slice.get(begin..).unwrap_or(&[]);
                        View::$variant(rest.get(..len).unwrap_or(rest))
                    })*
                }
            }

            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(slice) => slice.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        /// The elements of a tensor in standard order, to be written.
        #[derive(Debug)]
        pub enum ViewMut<'a> {
            $(#[doc = $doc] $variant(&'a mut [$type]),)*
        }

        impl<'a> ViewMut<'a> {
            /// The first `at` elements, and the others.
            ///
            /// # Panics
            /// Where there are fewer.
            pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
                match self {
                    $(Self::$variant(slice) => {
                        let (left, right) = slice.split_at_mut(at);
                        (Self::$variant(left), Self::$variant(right))
                    })*
                }
            }

            /// The same for as long, to be read.
            pub(crate) fn into_view(self) -> View<'a> {
                match self { $(Self::$variant(slice) => View::$variant(slice),)* }
            }

            /// Takes the elements of `from`, which has this type and length.
            ///
            /// # Errors
            /// Another length or type.
            pub(crate) fn copy_from(&mut self, from: View) -> Result<()> {
                check_len("a copy", self.len(), from.len())?;
                match (self, from) {
                    $((Self::$variant(to), View::$variant(from)) => to.copy_from_slice(from),)*
                    (to, from) => return Err(Error::Operand {
                        operand: "a copy",
                        expected: to.dtype().name().to_owned(),
                        got: from.dtype().name().to_owned(),
                    }),
                }
                Ok(())
            }
        }

        impl ViewMut<'_> {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(slice) => slice.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The same, to be read.
            pub fn as_view(&self) -> View<'_> {
                match self { $(Self::$variant(slice) => View::$variant(slice),)* }
            }
        }

        $(
            impl sealed::Sealed for $type {}
            impl Scalar for $type {
                const DTYPE: DType = DType::$variant;
                fn array(tensor: &Tensor) -> Option<&ArrayD<Self>> {
                    match tensor { Tensor::$variant(array) => Some(array), _ => None }
                }
                fn slice<'a>(view: View<'a>) -> Option<&'a [Self]> {
                    match view { View::$variant(slice) => Some(slice), _ => None }
                }
                fn slice_mut<'a, 'b>(view: &'a mut ViewMut<'b>) -> Option<&'a mut [Self]> {
                    match view { ViewMut::$variant(slice) => Some(slice), _ => None }
                }
                fn view(slice: &[Self]) -> View<'_> {
                    View::$variant(slice)
                }
                fn view_mut(slice: &mut [Self]) -> ViewMut<'_> {
                    ViewMut::$variant(slice)
                }
            }

            impl From<ArrayD<$type>> for Tensor {
                fn from(array: ArrayD<$type>) -> Self {
                    let array = if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() };
                    Self::$variant(array)
                }
            }
        )*
    };
}

scalars! {
    F32 f32, "f32", "32-bit float.";
    F64 f64, "f64", "64-bit float.";
    F16 f16, "f16", "16-bit float; kept and converted, most operators do not compute with it.";
    Bf16 bf16, "bf16", "bfloat16; kept and converted, most operators do not compute with it.";
    I8 i8, "i8", "8-bit signed integer.";
    I16 i16, "i16", "16-bit signed integer.";
    I32 i32, "i32", "32-bit signed integer.";
    I64 i64, "i64", "64-bit signed integer.";
    U8 u8, "u8", "8-bit unsigned integer.";
    U16 u16, "u16", "16-bit unsigned integer.";
    U32 u32, "u32", "32-bit unsigned integer.";
    U64 u64, "u64", "64-bit unsigned integer.";
    Bool bool, "bool", "True or false.";
}

/// `$body` with `$T` as the Rust type that the [`DType`] `$dtype` names.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::network::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::network::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::network::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::network::DType::Bf16 => {
                type $T = half::bf16;
                $body
            }
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
            $crate::network::DType::Bool => {
                type $T = bool;
                $body
            }
        }
    };
}
pub(crate) use with_type;

impl Tensor {
    /// Its elements where they have the type `T`.
    pub fn array<T: Scalar>(&self) -> Option<&ArrayD<T>> {
        T::array(self)
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements as i64 where they are signed integers of 32 or 64 bits: shapes, axes, counts.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match self {
            Self::I64(array) => Some(array.iter().copied().collect()),
            Self::I32(array) => Some(array.iter().map(|&value| value.into()).collect()),
            _ => None,
        }
    }
}

/// An array of one value, or an error where it does not fit.
fn filled<T: Clone>(shape: &[usize], value: T) -> Result<ArrayD<T>> {
    let len = product("a tensor", shape)?;
    let bytes = product("a tensor", &[len, size_of::<T>()])?;
    let mut elements = Vec::new();
    elements
        .try_reserve_exact(len)
        .map_err(|_| Error::Allocation { bytes })?;
    elements.resize(len, value);
    ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|_| Error::Overflow { what: "a tensor" })
}

fn reshaped<T>(array: ArrayD<T>, shape: &[usize]) -> Result<ArrayD<T>> {
    let got = array.shape().to_vec();
    array
        .into_shape_with_order(IxDyn(shape))
        .map_err(|_| Error::Shape {
            what: "a tensor",
            expected: shape.to_vec(),
            got,
        })
}
