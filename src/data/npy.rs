//! Tensors in `.npy` files.
//!
//! ```text
//! magic, version, length, {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n, elements
//! ```
//!
//! What the header claims is compared with the bytes that are there before anything is allocated. NumPy has no
//! bfloat16: such tensors are written as f32, which holds every value of theirs.

use half::f16;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::{Header, Layout};
use ndarray_npy::{ReadNpyExt, WritableElement, WriteNpyExt};

use super::unreadable;
use crate::element::reserved;
use crate::error::{Error, Result, product, sum};
use crate::network::{DType, Tensor};

/// The longest header that is read; NumPy's own limit.
const MAX_HEADER_BYTES: usize = 10_000;

/// The most axes that NumPy has.
const MAX_RANK: usize = 64;

/// The element types by NumPy's codes, without the order of bytes.
const CODES: [(&str, DType); 12] = [
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("f2", DType::F16),
    ("b1", DType::Bool),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
];

/// The tensor in the bytes of a `.npy` file.
///
/// # Errors
/// No `.npy` file; elements of a type that [`DType`] does not have; fewer or more bytes than the shape says.
pub fn read(bytes: &[u8]) -> Result<Tensor> {
    let (header, body) = header(bytes)?;
    let descriptor = header.type_descriptor.to_string();
    let plain = descriptor.trim_matches('\'');
    let code = plain.trim_start_matches(['<', '>', '|', '=']);
    let Some(&(_, dtype)) = CODES.iter().find(|&&(known, _)| known == code) else {
        return Err(unreadable(format!(
            "elements of type {descriptor} are not read; use truth values, whole or real numbers of 8 to 64 bits"
        )));
    };
    let claimed = product("an array", &header.shape)
        .and_then(|count| product("an array", &[count, dtype.bytes()]));
    let there = bytes.len() - body;
    if claimed != Ok(there) {
        return Err(unreadable(format!(
            "the header claims an array of shape {:?} of {}, {there} bytes of elements are there",
            header.shape,
            dtype.name()
        )));
    }
    let array = match dtype {
        DType::F16 => return halves(&header, plain.starts_with('>'), &bytes[body..]),
        DType::F32 => Tensor::from(array::<f32>(bytes)?),
        DType::F64 => Tensor::from(array::<f64>(bytes)?),
        DType::Bool => Tensor::from(array::<bool>(bytes)?),
        DType::I8 => Tensor::from(array::<i8>(bytes)?),
        DType::I16 => Tensor::from(array::<i16>(bytes)?),
        DType::I32 => Tensor::from(array::<i32>(bytes)?),
        DType::I64 => Tensor::from(array::<i64>(bytes)?),
        DType::U8 => Tensor::from(array::<u8>(bytes)?),
        DType::U16 => Tensor::from(array::<u16>(bytes)?),
        DType::U32 => Tensor::from(array::<u32>(bytes)?),
        DType::U64 => Tensor::from(array::<u64>(bytes)?),
        DType::Bf16 => return Err(unreadable("NumPy has no bfloat16".to_owned())),
    };
    Ok(array)
}

/// The header, and where the elements begin.
fn header(bytes: &[u8]) -> Result<(Header, usize)> {
    let header_len = match (bytes.get(..6), bytes.get(6..12)) {
        (Some(b"\x93NUMPY"), Some(&[1, _, low, high, ..])) => {
            usize::from(u16::from_le_bytes([low, high]))
        }
        (Some(b"\x93NUMPY"), Some(&[2 | 3, _, a, b, c, d])) => {
            usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX)
        }
        _ => return Err(unreadable("not a .npy file".to_owned())),
    };
    // The header is a Python literal, parsed recursively: a plain array needs one `{` and one `(`.
    let brackets = bytes
        .iter()
        .take(header_len.saturating_add(12))
        .filter(|byte| b"([{".contains(byte))
        .count();
    if header_len > MAX_HEADER_BYTES || brackets > 8 {
        return Err(unreadable(
            "the header of the .npy file is not that of a plain array".to_owned(),
        ));
    }
    let mut rest = bytes;
    let header = Header::from_reader(&mut rest)
        .map_err(|error| unreadable(format!("the header of the .npy file is broken: {error}")))?;
    if header.shape.len() > MAX_RANK {
        return Err(Error::Rank {
            what: "a .npy file",
            expected: MAX_RANK,
            got: header.shape.len(),
        });
    }
    Ok((header, bytes.len() - rest.len()))
}

fn array<T>(bytes: &[u8]) -> Result<ArrayD<T>>
where
    ArrayD<T>: ReadNpyExt,
{
    ArrayD::read_npy(bytes)
        .map_err(|error| unreadable(format!("the elements of the .npy file are broken: {error}")))
}

/// The elements of 16 bits, of which there are as many as the shape says.
fn halves(header: &Header, big_endian: bool, bytes: &[u8]) -> Result<Tensor> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut elements = reserved(pairs.len())?;
    elements.extend(pairs.iter().map(|&pair| match big_endian {
        true => f16::from_be_bytes(pair),
        false => f16::from_le_bytes(pair),
    }));
    let shape = IxDyn(&header.shape).set_f(header.layout.is_fortran());
    let array =
        ArrayD::from_shape_vec(shape, elements).map_err(|error| unreadable(error.to_string()))?;
    Ok(array.into())
}

/// The bytes of a `.npy` file that holds `tensor`.
///
/// # Errors
/// No memory.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>> {
    match tensor {
        Tensor::F32(array) => written(array),
        Tensor::F64(array) => written(array),
        Tensor::Bool(array) => written(array),
        Tensor::I8(array) => written(array),
        Tensor::I16(array) => written(array),
        Tensor::I32(array) => written(array),
        Tensor::I64(array) => written(array),
        Tensor::U8(array) => written(array),
        Tensor::U16(array) => written(array),
        Tensor::U32(array) => written(array),
        Tensor::U64(array) => written(array),
        Tensor::Bf16(array) => written(&array.mapv(f32::from)),
        Tensor::F16(array) => {
            let mut bytes = header_bytes("<f2", array.shape())?;
            bytes
                .try_reserve_exact(product("a tensor", &[array.len(), 2])?)
                .map_err(|_| Error::Allocation {
                    bytes: array.len().saturating_mul(2),
                })?;
            bytes.extend(array.iter().flat_map(|value| value.to_le_bytes()));
            Ok(bytes)
        }
    }
}

fn written<T: WritableElement>(array: &ArrayD<T>) -> Result<Vec<u8>> {
    let elements = product("a tensor", &[array.len(), size_of::<T>()])?;
    let mut bytes = reserved(sum("a tensor", &[elements, 256])?)?;
    array
        .write_npy(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(bytes)
}

/// The header of an array of `shape` with elements of NumPy's type `descriptor`, in standard order.
///
/// # Errors
/// A shape too long for the format.
pub(crate) fn header_bytes(descriptor: &str, shape: &[usize]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| unreadable(error.to_string());
    let header = Header {
        type_descriptor: format!("'{descriptor}'")
            .parse()
            .map_err(|error| failed(&error))?,
        layout: Layout::Standard,
        shape: shape.to_vec(),
    };
    header.to_bytes().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr0, arr2};

    #[test]
    fn every_type_comes_back() {
        for &dtype in DType::ALL {
            for shape in [&[][..], &[0], &[2, 3], &[1, 0, 4]] {
                let tensor = Tensor::zeros(dtype, shape).unwrap();
                let again = read(&write(&tensor).unwrap()).unwrap();
                match dtype {
                    DType::Bf16 => assert_eq!(again.dtype(), DType::F32),
                    _ => assert_eq!(again, tensor),
                }
            }
        }
        let values = arr2(&[[1.5f32, f32::NEG_INFINITY], [-0.0, 3.0]]).into_dyn();
        assert_eq!(
            read(&write(&values.clone().into()).unwrap()),
            Ok(values.clone().into())
        );
        let halves = values.mapv(f16::from_f32);
        assert_eq!(
            read(&write(&halves.clone().into()).unwrap()),
            Ok(halves.into())
        );
        let one = Tensor::from(arr0(7i64).into_dyn());
        assert_eq!(read(&write(&one).unwrap()), Ok(one));
    }

    #[test]
    fn orders_of_other_machines() {
        let tensor = Tensor::from(arr2(&[[1u16, 2, 3], [4, 5, 6]]).into_dyn());
        let bytes = |descriptor: &str, fortran: bool| {
            let header = Header {
                type_descriptor: format!("'{descriptor}'").parse().unwrap(),
                layout: if fortran {
                    Layout::Fortran
                } else {
                    Layout::Standard
                },
                shape: vec![2, 3],
            };
            header.to_bytes().unwrap()
        };
        let mut big = bytes(">u2", false);
        big.extend((1..=6u16).flat_map(u16::to_be_bytes));
        assert_eq!(read(&big), Ok(tensor.clone()));
        let mut columns = bytes("<u2", true);
        columns.extend([1u16, 4, 2, 5, 3, 6].into_iter().flat_map(u16::to_le_bytes));
        assert_eq!(read(&columns), Ok(tensor));
        let mut halves = bytes(">f2", true);
        halves.extend((1..=6u8).flat_map(|value| f16::from_f32(value.into()).to_be_bytes()));
        let expected = Array2::from_shape_vec((2, 3), vec![1., 3., 5., 2., 4., 6.]).unwrap();
        let expected = expected.mapv(f16::from_f32).into_dyn();
        assert_eq!(read(&halves), Ok(expected.into()));
    }

    #[test]
    fn claims_are_checked() {
        let good = write(&Tensor::from(arr2(&[[1f32, 2.0]]).into_dyn())).unwrap();
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_err(), "{len} bytes");
        }
        let mut long = good.clone();
        long.push(0);
        let error = read(&long).unwrap_err().to_string();
        assert!(error.contains("9 bytes"), "{error}");
        for (descriptor, shape) in [
            ("<f4", vec![usize::MAX, 2]),
            ("<f4", vec![1 << 40]),
            ("<f2", vec![1 << 62]),
            ("<c8", vec![1]),
            ("<U3", vec![1]),
            ("<f4", vec![1; 65]),
        ] {
            let mut bytes = header_bytes(descriptor, &shape).unwrap();
            bytes.extend([0; 8]);
            assert!(read(&bytes).is_err(), "{descriptor} {shape:?}");
        }
        assert!(read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").is_err());
    }
}
