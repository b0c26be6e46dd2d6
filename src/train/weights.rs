//! Tensors of f32 by name, in safetensors files.
//!
//! ```text
//! n: u64 │ n bytes of JSON: {"name": {"dtype": "F32", "shape": [8, 1, 5, 5], "data_offsets": [0, 800]}, …} │ elements
//! ```
//! Little endian; `__metadata__` in the JSON holds notes. The format is that of
//! <https://huggingface.co/docs/safetensors>. The crate of this name reads the header; before that, what it is lax
//! about is checked here: names that stand twice (it takes the last), fields that mean nothing, and offsets beyond the file, with which its sums overflow.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::data::picture::read_file;
use crate::error::{Error, Result, check_len, product, sum};

/// The largest file that is read, in bytes: 4 GiB.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// The largest header that is read or written, in bytes: 8 MiB, for about a hundred thousand tensors.
pub const MAX_HEADER_BYTES: usize = 8 << 20;

/// The most axes of a tensor that is read.
const MAX_RANK: usize = 64;

/// The key of the notes in a header.
const METADATA: &str = "__metadata__";

/// Bytes that are handed to a file at a time.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// A tensor to be written.
#[derive(Debug, Clone, Copy)]
pub struct NamedTensor<'t> {
    /// Its name, of which there is one in a file.
    pub name: &'t str,
    /// Its shape.
    pub shape: &'t [usize],
    /// Its elements in standard order.
    pub values: &'t [f32],
}

/// A place for a tensor that is read.
#[derive(Debug)]
pub struct Target<'t> {
    /// The name that the tensor must have.
    pub name: &'t str,
    /// The shape that it must have.
    pub shape: &'t [usize],
    /// As many elements as the shape has.
    pub values: &'t mut [f32],
}

/// A file that is about to be written: whatever can be wrong with it has been checked.
#[derive(Debug)]
pub struct Encoded<'t> {
    header: Vec<u8>,
    tensors: &'t [NamedTensor<'t>],
}

impl<'t> Encoded<'t> {
    /// `tensors` in their order, with `metadata` as notes. The same bytes for the same arguments.
    ///
    /// # Errors
    /// A name that stands twice or is `__metadata__`; another number of elements than the shape has; a header above
    /// [`MAX_HEADER_BYTES`].
    pub fn new(
        tensors: &'t [NamedTensor<'t>],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let failed = |error: serde_json::Error| unreadable(error.to_string());
        // A map of this kind is in the order of names.
        let mut entries = serde_json::Map::new();
        if !metadata.is_empty() {
            let notes = serde_json::to_value(metadata).map_err(failed)?;
            entries.insert(METADATA.to_owned(), notes);
        }
        let mut at = 0;
        for tensor in tensors {
            let elements = product("a tensor", tensor.shape)?;
            check_len("a tensor to be written", elements, tensor.values.len())?;
            let end = sum("the tensors", &[at, product("a tensor", &[elements, 4])?])?;
            let info = TensorInfo {
                dtype: Dtype::F32,
                shape: tensor.shape.to_vec(),
                data_offsets: (at, end),
            };
            let info = serde_json::to_value(info).map_err(failed)?;
            if tensor.name == METADATA || entries.insert(tensor.name.to_owned(), info).is_some() {
                let what = format!("a tensor cannot be named {:?}, which is taken", tensor.name);
                return Err(unreadable(what));
            }
            at = end;
        }
        let mut header = serde_json::to_vec(&entries).map_err(failed)?;
        // Elements begin at a multiple of 8.
        header.resize(header.len().next_multiple_of(8), b' ');
        check_header(header.len())?;
        Ok(Self { header, tensors })
    }

    /// Writes the bytes of the file.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&(self.header.len() as u64).to_le_bytes())?;
        to.write_all(&self.header)?;
        let mut bytes = Vec::with_capacity(WRITTEN_AT_ONCE);
        for tensor in self.tensors {
            for values in tensor.values.chunks(WRITTEN_AT_ONCE / 4) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                to.write_all(&bytes)?;
            }
        }
        Ok(())
    }
}

/// What is in a safetensors file.
#[derive(Debug)]
pub struct Weights {
    bytes: Vec<u8>,
    /// Where the elements begin.
    elements: usize,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl Weights {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], a file above [`MAX_FILE_BYTES`], and those of [`from_bytes`](Self::from_bytes),
    /// [at](Error::At) the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = |error: Error| match error {
            error @ Error::Io { .. } => error,
            error => error.at(path.display().to_string()),
        };
        let bytes = read_file(path, MAX_FILE_BYTES).map_err(place)?;
        Self::from_bytes(bytes).map_err(place)
    }

    /// The contents of a file.
    ///
    /// # Errors
    /// [`Error::Data`]: no header, or one above [`MAX_HEADER_BYTES`], cut off or no JSON of this kind; a name that
    /// stands twice; shapes, types, offsets and the number of bytes that contradict each other.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            let what = format!(
                "the file has {} bytes, the length of a header 8",
                bytes.len()
            );
            return Err(unreadable(what));
        };
        let length = u64::from_le_bytes(*length);
        let there = rest.len();
        let header = usize::try_from(length).ok();
        check_header(header.unwrap_or(usize::MAX))?;
        let Some((header, elements)) = header.and_then(|length| rest.split_at_checked(length))
        else {
            let what = format!("a header of {length} bytes is claimed, {there} bytes are there");
            return Err(unreadable(what));
        };
        check_entries(header, elements.len())?;
        let failed = |error: safetensors::SafeTensorError| {
            unreadable(format!(
                "the header contradicts itself or the {} bytes of elements: {error}",
                elements.len()
            ))
        };
        let (_, read) = SafeTensors::read_metadata(&bytes).map_err(failed)?;
        let tensors = read.tensors().into_iter();
        let tensors = tensors.map(|(name, info)| (name, info.clone())).collect();
        let metadata = read.metadata().clone().unwrap_or_default();
        Ok(Self {
            elements: 8 + header.len(),
            tensors,
            metadata: metadata.into_iter().collect(),
            bytes,
        })
    }

    /// The notes.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Name, shape and element type (`F32`, `I64`, …) of each tensor, in the order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], String)> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, info)| (name.as_str(), info.shape.as_slice(), info.dtype.to_string()))
    }

    /// Fills every target. The file must have these tensors and no other ones.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all differences: what is missing, what is not expected, another shape, another type
    /// than f32; a target whose slice does not fit its own shape. Nothing is written then.
    pub fn load_into(&self, targets: &mut [Target<'_>]) -> Result<()> {
        for target in targets.iter() {
            let elements = product("a tensor", target.shape)?;
            check_len("the place of a tensor", elements, target.values.len())?;
        }
        let expected = targets.iter().map(|target| (target.name, target.shape));
        let list = self.differences(expected);
        if !list.is_empty() {
            return Err(Error::Tensors { list });
        }
        for target in targets {
            let (from, to) = self.tensors[target.name].data_offsets;
            let (elements, _) = self.bytes[self.elements..][from..to].as_chunks::<4>();
            for (value, &element) in target.values.iter_mut().zip(elements) {
                *value = f32::from_le_bytes(element);
            }
        }
        Ok(())
    }

    /// In which tensors the file is not what is expected, by name and shape, with elements of f32.
    pub fn differences<'e>(
        &self,
        expected: impl IntoIterator<Item = (&'e str, &'e [usize])>,
    ) -> Vec<String> {
        let mut list = Vec::new();
        let mut known = HashSet::new();
        for (name, shape) in expected {
            known.insert(name);
            let Some(info) = self.tensors.get(name) else {
                list.push(format!("{name:?} of shape {shape:?} is missing"));
                continue;
            };
            if info.shape != shape {
                list.push(format!(
                    "{name:?} has shape {:?} in the file, expected {shape:?}",
                    info.shape
                ));
            }
            if info.dtype != Dtype::F32 {
                list.push(format!(
                    "{name:?} has elements of type {} in the file, expected F32",
                    info.dtype
                ));
            }
        }
        let others = self.tensors.iter();
        let others = others.filter(|(name, _)| !known.contains(name.as_str()));
        list.extend(others.map(|(name, info)| {
            format!(
                "{name:?} of shape {:?} is in the file, but not expected",
                info.shape
            )
        }));
        list
    }
}

fn unreadable(what: String) -> Error {
    Error::Data { what }
}

fn check_header(length: usize) -> Result<()> {
    match length <= MAX_HEADER_BYTES {
        true => Ok(()),
        false => Err(unreadable(format!(
            "a header of {length} bytes, at most {MAX_HEADER_BYTES} are read"
        ))),
    }
}

/// An error unless each name stands once and each tensor ends within `elements` bytes.
fn check_entries(header: &[u8], elements: usize) -> Result<()> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let end = u64::try_from(elements).unwrap_or(u64::MAX);
    json.deserialize_map(Entries { end })
        .map_err(|error| unreadable(format!("the header of the file is broken: {error}")))
}

/// What the header says of one tensor, as far as it is checked here.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    #[serde(rename = "dtype")]
    _dtype: IgnoredAny,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Reads the entries of a header one by one and keeps their names.
struct Entries {
    end: u64,
}

impl<'de> Visitor<'de> for Entries {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<Notes>()?;
            } else {
                let Place {
                    shape,
                    data_offsets: (_, end),
                    ..
                } = map.next_value()?;
                if end > self.end {
                    let there = self.end;
                    return Err(M::Error::custom(format_args!(
                        "tensor {name:?} ends at byte {end} of {there}"
                    )));
                }
                if shape.len() > MAX_RANK {
                    return Err(M::Error::custom(format_args!(
                        "tensor {name:?} has {} axes, at most {MAX_RANK} are read",
                        shape.len()
                    )));
                }
            }
            once(&mut names, name)?;
        }
        Ok(())
    }
}

/// The notes: a map, its keys different.
struct Notes;

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(notes: D) -> std::result::Result<Self, D::Error> {
        notes.deserialize_map(Notes)
    }
}

impl<'de> Visitor<'de> for Notes {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of notes")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Self, M::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, String>()? {
            once(&mut keys, key)?;
        }
        Ok(self)
    }
}

fn once<E: serde::de::Error>(
    names: &mut HashSet<String>,
    name: String,
) -> std::result::Result<(), E> {
    match names.contains(&name) {
        true => Err(E::custom(format_args!("{name:?} stands twice"))),
        false => {
            names.insert(name);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NamedTensor<'_> = NamedTensor {
        name: "a.weight",
        shape: &[2, 1, 3],
        values: &[
            0.0,
            -1.5,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::NEG_INFINITY,
        ],
    };
    const B: NamedTensor<'_> = NamedTensor {
        name: "B \"quoted\" λ",
        shape: &[],
        values: &[-0.0],
    };
    const EMPTY: NamedTensor<'_> = NamedTensor {
        name: "empty",
        shape: &[2, 0],
        values: &[],
    };

    fn notes() -> BTreeMap<String, String> {
        let notes = ["zebra", "classes", "architecture"].map(|key| (key.to_owned(), key.repeat(2)));
        BTreeMap::from(notes)
    }

    fn encoded(tensors: &[NamedTensor<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let file = Encoded::new(tensors, &notes()).unwrap();
        file.write(&mut bytes).unwrap();
        bytes
    }

    /// A file with this header.
    fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), elements].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = encoded(&[A, B, EMPTY]);
        assert_eq!(bytes, encoded(&[A, B, EMPTY]), "the same bytes every time");
        let weights = Weights::from_bytes(bytes.clone()).unwrap();
        assert_eq!(weights.metadata(), &notes());
        let listed: Vec<_> = weights.tensors().collect();
        assert_eq!(
            listed,
            [B, A, EMPTY].map(|tensor| (tensor.name, tensor.shape, "F32".to_owned()))
        );
        let mut places = [vec![1.0; 1], vec![1.0; 6], vec![]];
        let targets = [B, A, EMPTY].into_iter().zip(&mut places);
        let mut targets: Vec<_> = targets
            .map(|(tensor, values)| Target {
                name: tensor.name,
                shape: tensor.shape,
                values,
            })
            .collect();
        weights.load_into(&mut targets).unwrap();
        let bits = |values: &[f32]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&places[0]), bits(B.values));
        assert_eq!(bits(&places[1]), bits(A.values));
        // Any reader of the format.
        let read = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor(A.name).unwrap().shape(), A.shape);
        assert_eq!(bytes.len() % 8, 4, "the header ends at a multiple of 8");
        for length in 0..bytes.len() {
            let cut = Weights::from_bytes(bytes[..length].to_vec());
            assert!(matches!(cut, Err(Error::Data { .. })), "{length} bytes");
        }
    }

    #[test]
    fn all_differences_are_told() {
        let whole = file(
            r#"{"half":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},
                "weight":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},
                "whole":{"dtype":"I64","shape":[1],"data_offsets":[14,22]},
                "other":{"dtype":"F32","shape":[0,9],"data_offsets":[14,14]}}"#,
            &[1; 22],
        );
        let weights = Weights::from_bytes(whole).unwrap();
        let mut places = [vec![7.0; 3], vec![7.0; 2], vec![7.0; 4], vec![7.0; 2]];
        let [half, weight, bias, whole] = &mut places;
        let mut targets = [
            ("half", &[3][..], half),
            ("weight", &[1, 2], weight),
            ("bias", &[4], bias),
            ("whole", &[2], whole),
        ]
        .map(|(name, shape, values)| Target {
            name,
            shape,
            values,
        });
        let error = weights.load_into(&mut targets).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"6 tensors differ: "half" has elements of type F16 in the file, expected F32; "weight" has shape [2, 1] in the file, expected [1, 2]; "bias" of shape [4] is missing; "whole" has shape [1] in the file, expected [2]; "whole" has elements of type I64 in the file, expected F32; "other" of shape [0, 9] is in the file, but not expected"#
        );
        targets[1].shape = &[3];
        let error = weights.load_into(&mut targets).unwrap_err();
        assert!(matches!(
            error,
            Error::BufferLength {
                expected: 3,
                got: 2,
                ..
            }
        ));
        assert!(places.iter().flatten().all(|&value| value == 7.0));
    }

    #[test]
    fn what_cannot_be_written() {
        let wrong = |tensors: &[NamedTensor<'_>]| {
            let error = Encoded::new(tensors, &BTreeMap::new()).unwrap_err();
            error.to_string()
        };
        assert!(wrong(&[A, B, A]).contains(r#""a.weight", which is taken"#));
        let named = NamedTensor {
            name: METADATA,
            ..A
        };
        assert!(wrong(&[named]).contains(METADATA));
        let long = NamedTensor { shape: &[7], ..A };
        assert!(wrong(&[long]).contains("holds 6 elements, expected 7"));
        let huge = NamedTensor {
            shape: &[usize::MAX, 2],
            ..A
        };
        assert!(wrong(&[huge]).contains("does not fit"));
        let name = "n".repeat(MAX_HEADER_BYTES);
        assert!(wrong(&[NamedTensor { name: &name, ..A }]).contains("at most"));
    }

    #[test]
    fn what_the_crate_is_lax_about() {
        let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let u8s = |at: u64, end: u64| {
            format!(
                r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{at},{end}]}}"#,
                end - at
            )
        };
        // Eight tensors that end 8 bytes below 2⁶⁴.
        let step = (1u64 << 61) - 1;
        let huge: Vec<_> = (0..8)
            .map(|index| format!(r#""{index}":{}"#, u8s(index * step, (index + 1) * step)))
            .collect();
        let axes = vec!["1"; 65].join(",");
        for (header, part) in [
            (
                format!(r#"{{"a":{entry},"a":{entry}}}"#),
                r#""a" stands twice"#,
            ),
            (
                format!(r#"{{"a":{entry},"\u0061":{entry}}}"#),
                r#""a" stands twice"#,
            ),
            (
                r#"{"__metadata__":{"x":"1","x":"2"}}"#.to_owned(),
                r#""x" stands twice"#,
            ),
            (
                r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(),
                r#""__metadata__" stands twice"#,
            ),
            (r#"{"__metadata__":{"x":1}}"#.to_owned(), "invalid type"),
            (
                format!("{{{}}}", huge.join(",")),
                "ends at byte 2305843009213693951 of 4",
            ),
            (format!(r#"{{"a":{}}}"#, u8s(0, 5)), "ends at byte 5 of 4"),
            (
                format!(r#"{{"a":{{"dtype":"U8","shape":[{axes}],"data_offsets":[0,4]}}}}"#),
                "has 65 axes",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":[[]]}}"#.to_owned(),
                "unknown field `more`",
            ),
            (r#"["a"]"#.to_owned(), "expected a map of tensors"),
        ] {
            let error = Weights::from_bytes(file(&header, &[0; 4]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{header}: {error}");
        }
        let good = format!(r#"{{"a":{entry}}}"#);
        assert!(Weights::from_bytes(file(&good, &[0; 4])).is_ok());
        let error = Weights::from_bytes(u64::MAX.to_le_bytes().to_vec()).unwrap_err();
        assert!(error.to_string().contains("at most 8388608"), "{error}");
    }
}
