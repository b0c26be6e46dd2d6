//! Tensors of ONNX files, and of `.pb` files that hold one each.
//!
//! ```text
//! TensorProto   dims, type, elements as   raw_data        little-endian bytes
//!                                         *_data          one number a field, several types share one
//!                                         external_data   a piece of another file
//! ```
//!
//! The elements are counted before anything is allocated: what `dims` claims must be there, no more and no less.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use prost::Message;

use super::proto::TensorProto;
use super::source::Source;
use crate::element::{collected, reserved};
use crate::error::{Error, Result, product};
use crate::network::{DType, Tensor, View};

/// The most axes that a tensor of a file may have; the axes of a network are far fewer, and work that is done
/// for each axis stays bounded.
const MAX_RANK: usize = 64;

/// The number of each element type in ONNX.
const TYPES: [(i32, DType); 13] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (16, DType::Bf16),
];

/// The names of the types that are not there.
const OTHER_TYPES: [(i32, &str); 13] = [
    (0, "undefined"),
    (8, "string"),
    (14, "complex64"),
    (15, "complex128"),
    (17, "float8e4m3fn"),
    (18, "float8e4m3fnuz"),
    (19, "float8e5m2"),
    (20, "float8e5m2fnuz"),
    (21, "uint4"),
    (22, "int4"),
    (23, "float4e2m1"),
    (24, "float8e8m0"),
    (25, "uint2"),
];

/// The element type with the number `number` in ONNX.
pub(super) fn dtype(number: i64) -> Result<DType> {
    let known = TYPES.iter().find(|&&(known, _)| i64::from(known) == number);
    known.map(|&(_, dtype)| dtype).ok_or_else(|| {
        let name = OTHER_TYPES
            .iter()
            .find(|&&(other, _)| i64::from(other) == number);
        Error::Model {
            what: match name {
                Some((_, name)) => format!("element type {name} is not supported"),
                None => format!("{number} is no element type"),
            },
        }
    })
}

/// The number of an element type in ONNX.
pub(super) fn number(dtype: DType) -> i32 {
    let known = TYPES.iter().find(|&&(_, known)| known == dtype);
    known.expect("every type has its number").0
}

/// Reads one tensor with its name (empty where it has none) from the bytes of a `.pb` file.
///
/// # Errors
/// Bytes that are no tensor; a tensor that refers to another file.
pub fn read_tensor(bytes: &[u8]) -> Result<(String, Tensor)> {
    let source = Source::new(None, usize::MAX);
    let proto: TensorProto = super::wire::decode(bytes.to_vec().into(), &source)?;
    let tensor = tensor(&proto, &source)?;
    Ok((proto.name, tensor))
}

/// The bytes of a `.pb` file that holds `tensor` under `name`.
///
/// # Errors
/// No memory.
pub fn write_tensor(name: &str, tensor: &Tensor) -> Result<Vec<u8>> {
    encoded(&message(name, tensor)?)
}

/// The message of `tensor` under `name`.
pub(super) fn message(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    Ok(TensorProto {
        dims: tensor.shape().iter().map(|&size| size as i64).collect(),
        data_type: number(tensor.dtype()),
        name: name.to_owned(),
        raw_data: Some(little_endian(tensor.view())?.into()),
        ..TensorProto::default()
    })
}

/// The bytes of a message.
pub(super) fn encoded(message: &impl Message) -> Result<Vec<u8>> {
    let mut bytes = reserved(message.encoded_len())?;
    message.encode(&mut bytes).map_err(|error| Error::Model {
        what: error.to_string(),
    })?;
    Ok(bytes)
}

/// Fails for more axes than are read.
pub(super) fn check_rank(rank: usize) -> Result<()> {
    match rank > MAX_RANK {
        true => Err(Error::Model {
            what: format!("{rank} axes, at most {MAX_RANK} are read"),
        }),
        false => Ok(()),
    }
}

/// The shape that `dims` says.
pub(super) fn shape(dims: &[i64]) -> Result<Vec<usize>> {
    check_rank(dims.len())?;
    dims.iter()
        .map(|&size| {
            usize::try_from(size).map_err(|_| Error::Model {
                what: format!("the size {size} in the shape {dims:?} is impossible"),
            })
        })
        .collect()
}

/// The tensor of a message; errors carry its name.
pub(super) fn tensor(proto: &TensorProto, source: &Source) -> Result<Tensor> {
    unnamed(proto, source).map_err(|error| error.at(format!("tensor {:?}", proto.name)))
}

fn unnamed(proto: &TensorProto, source: &Source) -> Result<Tensor> {
    let dtype = dtype(proto.data_type.into())?;
    let shape = shape(&proto.dims)?;
    let len = product("a tensor", &shape)?;
    let bytes = product("a tensor", &[len, dtype.bytes()])?;
    if proto.segment.is_some() {
        return Err(Error::Model {
            what: "a segment of a tensor, which no model may hold".to_owned(),
        });
    }
    match proto.data_location {
        0 => {}
        1 => {
            // The bytes that are read and the elements made of them are there at the same time.
            source.claim(bytes)?;
            let raw = source.read(&proto.external_data, bytes)?;
            return from_raw(dtype, shape, &raw);
        }
        other => {
            return Err(Error::Model {
                what: format!("data_location is {other}, expected 0 (here) or 1 (external)"),
            });
        }
    }
    let typed = [
        ("float_data", proto.float_data.len()),
        ("int32_data", proto.int32_data.len()),
        ("int64_data", proto.int64_data.len()),
        ("double_data", proto.double_data.len()),
        ("uint64_data", proto.uint64_data.len()),
    ];
    let (field, found) = match typed.iter().filter(|&&(_, len)| len > 0).count() {
        0 => ("raw_data", 0),
        1 => *typed.iter().max_by_key(|&&(_, len)| len).expect("five"),
        _ => {
            return Err(Error::Model {
                what: "elements in more than one field".to_owned(),
            });
        }
    };
    match &proto.raw_data {
        Some(raw) if found == 0 || !raw.is_empty() => {
            if found > 0 {
                return Err(Error::Model {
                    what: format!("elements in raw_data and in {field}"),
                });
            }
            if raw.len() != bytes {
                return Err(Error::Model {
                    what: format!(
                        "raw_data holds {} bytes, shape {shape:?} of {} needs {bytes}",
                        raw.len(),
                        dtype.name()
                    ),
                });
            }
            source.claim(bytes)?;
            from_raw(dtype, shape, raw)
        }
        _ => {
            let wanted = typed_field(dtype);
            if len > 0 && found > 0 && field != wanted {
                return Err(Error::Model {
                    what: format!("elements of {} in {field}, expected {wanted}", dtype.name()),
                });
            }
            if found != len {
                return Err(Error::Model {
                    what: format!("{found} elements, shape {shape:?} needs {len}"),
                });
            }
            source.claim(bytes)?;
            from_fields(proto, dtype, shape)
        }
    }
}

/// The field in which elements of a type stand one by one.
fn typed_field(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float_data",
        DType::F64 => "double_data",
        DType::I64 => "int64_data",
        DType::U32 | DType::U64 => "uint64_data",
        _ => "int32_data",
    }
}

fn array<T: Clone>(shape: Vec<usize>, elements: Vec<T>) -> Result<ArrayD<T>> {
    let got = elements.len();
    ArrayD::from_shape_vec(IxDyn(&shape), elements).map_err(|_| Error::Model {
        what: format!("{got} elements do not fill shape {shape:?}"),
    })
}

/// `$make(bytes)` for each element's bytes, in the variant of [`Tensor`] that `$dtype` names.
macro_rules! raw {
    ($dtype:expr, $shape:expr, $bytes:expr; $($variant:ident $type:ty),*) => {
        match $dtype {
            $(DType::$variant => {
                const SIZE: usize = size_of::<$type>();
                let (elements, _) = $bytes.as_chunks::<SIZE>();
                let elements = elements.iter().map(|&bytes| <$type>::from_le_bytes(bytes));
                array($shape, collected($bytes.len() / SIZE, elements)?)?.into()
            })*
            DType::Bool => array($shape, collected($bytes.len(), $bytes.iter().map(|&byte| byte != 0))?)?.into(),
        }
    };
}

/// The elements in `bytes`, of which there are as many as needed.
fn from_raw(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor> {
    Ok(raw!(dtype, shape, bytes;
        F32 f32, F64 f64, F16 f16, Bf16 bf16, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64))
}

/// `values` as another integer type.
fn narrowed<A, B>(values: &[A]) -> Result<Vec<B>>
where
    A: Copy + std::fmt::Display + TryInto<B>,
{
    let mut narrow = reserved(values.len())?;
    for &value in values {
        narrow.push(value.try_into().map_err(|_| Error::Model {
            what: format!(
                "the element {value} does not fit {}",
                std::any::type_name::<B>()
            ),
        })?);
    }
    Ok(narrow)
}

/// The elements in the field for their type, of which there are as many as needed.
fn from_fields(proto: &TensorProto, dtype: DType, shape: Vec<usize>) -> Result<Tensor> {
    let words = &proto.int32_data;
    let bits = || narrowed::<_, u16>(words);
    Ok(match dtype {
        DType::F32 => array(shape, proto.float_data.clone())?.into(),
        DType::F64 => array(shape, proto.double_data.clone())?.into(),
        DType::I64 => array(shape, proto.int64_data.clone())?.into(),
        DType::U64 => array(shape, proto.uint64_data.clone())?.into(),
        DType::U32 => array(shape, narrowed::<_, u32>(&proto.uint64_data)?)?.into(),
        DType::I32 => array(shape, words.clone())?.into(),
        DType::I16 => array(shape, narrowed::<_, i16>(words)?)?.into(),
        DType::I8 => array(shape, narrowed::<_, i8>(words)?)?.into(),
        DType::U16 => array(shape, bits()?)?.into(),
        DType::U8 => array(shape, narrowed::<_, u8>(words)?)?.into(),
        DType::Bool => array(shape, words.iter().map(|&word| word != 0).collect())?.into(),
        DType::F16 => array(shape, bits()?.into_iter().map(f16::from_bits).collect())?.into(),
        DType::Bf16 => array(shape, bits()?.into_iter().map(bf16::from_bits).collect())?.into(),
    })
}

/// The elements as little-endian bytes.
fn little_endian(view: View) -> Result<Vec<u8>> {
    let mut bytes = reserved(product("a tensor", &[view.len(), view.dtype().bytes()])?)?;
    macro_rules! write {
        ($($variant:ident),*) => {
            match view {
                $(View::$variant(elements) => elements.iter().for_each(|element| bytes.extend(element.to_le_bytes())),)*
                View::Bool(elements) => bytes.extend(elements.iter().map(|&element| u8::from(element))),
            }
        };
    }
    write!(F32, F64, F16, Bf16, I8, I16, I32, I64, U8, U16, U32, U64);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Scalar;
    use half::{bf16, f16};
    use ndarray::arr1;

    fn no_files() -> Source {
        Source::new(None, usize::MAX)
    }

    fn message(error: Result<Tensor>) -> String {
        error.unwrap_err().to_string()
    }

    /// Every type comes back as it was written.
    #[test]
    fn written_tensors_are_read_again() {
        fn check<T: Scalar>(elements: Vec<T>)
        where
            Tensor: From<ArrayD<T>>,
        {
            let tensor = Tensor::from(arr1(&elements).into_dyn());
            let bytes = write_tensor("x", &tensor).unwrap();
            assert_eq!(
                read_tensor(&bytes).unwrap(),
                ("x".to_owned(), tensor),
                "{}",
                T::DTYPE.name()
            );
        }
        check(vec![1.5f32, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 2.0]);
        check(vec![1.5f64, f64::MAX]);
        check(vec![f16::from_f32(0.1), f16::NEG_INFINITY]);
        check(vec![bf16::from_f32(0.1), bf16::MAX]);
        check(vec![i8::MIN, 7]);
        check(vec![i16::MIN, 7]);
        check(vec![i32::MIN, 7]);
        check(vec![i64::MIN, 7]);
        check(vec![u8::MAX, 7]);
        check(vec![u16::MAX, 7]);
        check(vec![u32::MAX, 7]);
        check(vec![u64::MAX, 7]);
        check(vec![true, false, true]);
        check(Vec::<f32>::new());
        for shape in [&[][..], &[2, 0, 3], &[1, 2, 3]] {
            let tensor = Tensor::zeros(DType::F32, shape).unwrap();
            let bytes = write_tensor("", &tensor).unwrap();
            assert_eq!(read_tensor(&bytes).unwrap().1, tensor);
        }
    }

    /// The elements one by one, in the field that their type has.
    #[test]
    fn typed_fields() {
        let read = |number: i32, proto: TensorProto| {
            let proto = TensorProto {
                data_type: number,
                dims: vec![2],
                ..proto
            };
            tensor(&proto, &no_files()).unwrap()
        };
        let words = |words: [i32; 2]| TensorProto {
            int32_data: words.to_vec(),
            ..TensorProto::default()
        };
        assert_eq!(
            read(2, words([0, 255])),
            arr1(&[0u8, 255]).into_dyn().into()
        );
        assert_eq!(
            read(3, words([-128, 1])),
            arr1(&[-128i8, 1]).into_dyn().into()
        );
        assert_eq!(
            read(9, words([0, 5])),
            arr1(&[false, true]).into_dyn().into()
        );
        let half = [f16::from_f32(1.0), f16::from_f32(-2.5)];
        assert_eq!(
            read(10, words(half.map(|value| value.to_bits().into()))),
            arr1(&half).into_dyn().into()
        );
        let unsigned = TensorProto {
            uint64_data: vec![1, u32::MAX.into()],
            ..TensorProto::default()
        };
        assert_eq!(read(12, unsigned), arr1(&[1, u32::MAX]).into_dyn().into());
        let float = TensorProto {
            float_data: vec![0.5, 2.0],
            ..TensorProto::default()
        };
        assert_eq!(read(1, float), arr1(&[0.5f32, 2.0]).into_dyn().into());
    }

    /// Nothing is believed that the bytes do not bear out.
    #[test]
    fn wrong_tensors() {
        let base = TensorProto {
            dims: vec![2, 2],
            data_type: 1,
            name: "w".to_owned(),
            ..TensorProto::default()
        };
        let read = |change: &dyn Fn(&mut TensorProto)| {
            let mut proto = base.clone();
            change(&mut proto);
            message(tensor(&proto, &no_files()))
        };
        type Change<'a> = &'a dyn Fn(&mut TensorProto);
        let cases: [(&str, Change); 14] = [
            ("0 elements, shape [2, 2] needs 4", &|_| ()),
            (
                "raw_data holds 15 bytes, shape [2, 2] of f32 needs 16",
                &|proto| {
                    proto.raw_data = Some(vec![0; 15].into());
                },
            ),
            ("raw_data holds 0 bytes", &|proto| {
                proto.raw_data = Some(vec![].into())
            }),
            ("3 elements", &|proto| proto.float_data = vec![0.0; 3]),
            (
                "elements of f32 in int64_data, expected float_data",
                &|proto| {
                    proto.int64_data = vec![0; 4];
                },
            ),
            ("more than one field", &|proto| {
                proto.float_data = vec![0.0; 4];
                proto.int64_data = vec![0; 4];
            }),
            ("raw_data and in float_data", &|proto| {
                proto.float_data = vec![0.0; 4];
                proto.raw_data = Some(vec![0; 16].into());
            }),
            ("the size -2", &|proto| proto.dims = vec![-2, -2]),
            ("does not fit the address space", &|proto| {
                proto.dims = vec![i64::MAX, 8]
            }),
            ("does not fit the address space", &|proto| {
                proto.dims = vec![i64::MAX / 2]
            }),
            ("65 axes", &|proto| proto.dims = vec![1; 65]),
            ("element type string", &|proto| proto.data_type = 8),
            ("99 is no element type", &|proto| proto.data_type = 99),
            ("data_location is 7", &|proto| proto.data_location = 7),
        ];
        for (expected, change) in cases {
            let found = read(change);
            assert!(
                found.starts_with("tensor \"w\": ") && found.contains(expected),
                "{found}, expected {expected}"
            );
        }
        let found = read(&|proto| {
            proto.data_type = 2;
            proto.int32_data = vec![0, 1, 256, 0];
        });
        assert!(found.contains("256 does not fit u8"), "{found}");
    }

    #[test]
    fn memory_is_booked_before_it_is_taken() {
        let proto = TensorProto {
            dims: vec![4],
            data_type: 11,
            raw_data: Some(vec![0; 32].into()),
            ..TensorProto::default()
        };
        assert!(tensor(&proto, &Source::new(None, 32)).is_ok());
        let error = tensor(&proto, &Source::new(None, 31)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("32 bytes are needed, the memory budget is 31")
        );
    }
}
