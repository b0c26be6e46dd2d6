//! The bytes of a protobuf message, walked once before they are decoded.
//!
//! ```text
//! message = field*     field = key value     key = tag · 8 + wire type     value = varint | 4 | 8 | length bytes
//! ```
//!
//! A few bytes can ask for many: an empty message takes two in the file and hundreds in memory. The walk
//! follows the lengths to the end, bounds the nesting, and adds up what decoding will allocate, so that bytes
//! that are cut off, nested too deeply or out of proportion are refused by their numbers. It allocates nothing.

use prost::Message;
use prost::bytes::Bytes;

use super::proto::{
    AttributeProto, DimensionProto, EntryProto, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetProto, SegmentProto, SparseTensorProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::source::Source;
use crate::error::{Error, Result};

/// The deepest nesting of messages, as in Google's readers.
const MAX_DEPTH: usize = 100;

/// A message that the walk knows: `(bytes in memory, its fields)`.
struct Description {
    bytes: usize,
    fields: &'static [(u64, Field)],
}

/// What a field makes in memory.
#[derive(Clone, Copy)]
enum Field {
    /// A message.
    Message(&'static Description),
    /// A string of its own.
    Text,
    /// A piece of the file that is shared.
    Shared,
    /// Varints, one or packed, each of so many bytes in memory.
    Varints(usize),
    /// Numbers of fixed size, one or packed.
    Fixed,
}

use Field::{Fixed, Shared, Text, Varints};

macro_rules! descriptions {
    ($($name:ident = $type:ty { $($tag:literal $field:expr),* $(,)? })*) => {
        $(static $name: Description = Description {
            bytes: size_of::<$type>(),
            fields: &[$(($tag, $field)),*],
        };)*
    };
}

// Single numbers are part of their message and need no mention.
descriptions! {
    MODEL = ModelProto {
        2 Text, 7 Field::Message(&GRAPH), 8 Field::Message(&OPERATOR_SET), 25 Field::Message(&FUNCTION),
    }
    OPERATOR_SET = OperatorSetProto { 1 Text }
    GRAPH = GraphProto {
        1 Field::Message(&NODE), 2 Text, 5 Field::Message(&TENSOR), 11 Field::Message(&VALUE_INFO),
        12 Field::Message(&VALUE_INFO), 15 Field::Message(&SPARSE_TENSOR),
    }
    NODE = NodeProto { 1 Text, 2 Text, 3 Text, 4 Text, 5 Field::Message(&ATTRIBUTE), 7 Text, 8 Text }
    ATTRIBUTE = AttributeProto {
        1 Text, 4 Shared, 5 Field::Message(&TENSOR), 6 Field::Message(&GRAPH), 7 Fixed, 8 Varints(8), 9 Shared,
        21 Text,
    }
    TENSOR = TensorProto {
        1 Varints(8), 3 Field::Message(&SEGMENT), 4 Fixed, 5 Varints(4), 7 Varints(8), 8 Text, 9 Shared, 10 Fixed,
        11 Varints(8), 13 Field::Message(&ENTRY),
    }
    SEGMENT = SegmentProto {}
    SPARSE_TENSOR = SparseTensorProto {
        1 Field::Message(&TENSOR), 2 Field::Message(&TENSOR), 3 Varints(8),
    }
    ENTRY = EntryProto { 1 Text, 2 Text }
    VALUE_INFO = ValueInfoProto { 1 Text, 2 Field::Message(&TYPE) }
    TYPE = TypeProto { 1 Field::Message(&TENSOR_TYPE) }
    TENSOR_TYPE = TensorTypeProto { 2 Field::Message(&TENSOR_SHAPE) }
    TENSOR_SHAPE = TensorShapeProto { 1 Field::Message(&DIMENSION) }
    DIMENSION = DimensionProto { 2 Text }
    FUNCTION = FunctionProto {
        1 Text, 4 Text, 5 Text, 6 Text, 7 Field::Message(&NODE), 9 Field::Message(&OPERATOR_SET), 10 Text,
        11 Field::Message(&ATTRIBUTE), 13 Text,
    }
}

/// A message that a file can consist of.
pub(super) trait File: Message + Default {
    /// What the walk follows.
    #[doc(hidden)]
    fn described() -> Walk;
}

/// Where a walk begins.
pub(super) struct Walk(&'static Description);

impl File for ModelProto {
    fn described() -> Walk {
        Walk(&MODEL)
    }
}

impl File for TensorProto {
    fn described() -> Walk {
        Walk(&TENSOR)
    }
}

/// The message in `bytes`, where `source` allows the memory for both.
pub(super) fn decode<M: File>(bytes: Bytes, source: &Source) -> Result<M> {
    let Walk(description) = M::described();
    let mut walker = Walker {
        bytes: &bytes,
        at: 0,
        needed: bytes.len().saturating_add(description.bytes),
    };
    walker.message(description, bytes.len(), 0)?;
    source.claim(walker.needed)?;
    M::decode(bytes).map_err(|error| Error::Model {
        what: format!("no protobuf message of the expected kind: {error}"),
    })
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    needed: usize,
}

impl Walker<'_> {
    /// Walks the fields up to `end`.
    fn message(&mut self, description: &Description, end: usize, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(&format!("messages are nested deeper than {MAX_DEPTH}")));
        }
        while self.at < end {
            let key = self.varint(end)?;
            let known = description.fields.iter().find(|&&(tag, _)| tag == key >> 3);
            let field = known.map(|&(_, field)| field);
            match key & 7 {
                0 => {
                    self.varint(end)?;
                    if let Some(Varints(size)) = field {
                        self.need(2 * size);
                    }
                }
                1 => self.fixed(8, field, end)?,
                5 => self.fixed(4, field, end)?,
                2 => {
                    let len = self.varint(end)?;
                    let left = end - self.at;
                    let Some(len) = usize::try_from(len).ok().filter(|&len| len <= left) else {
                        return Err(self.wrong(&format!(
                            "field {} claims {len} bytes, {left} are left",
                            key >> 3
                        )));
                    };
                    self.counted(field, len, depth)?;
                }
                other => {
                    return Err(self.wrong(&format!("field {} has wire type {other}", key >> 3)));
                }
            }
        }
        Ok(())
    }

    /// Walks a value of `len` bytes.
    fn counted(&mut self, field: Option<Field>, len: usize, depth: usize) -> Result<()> {
        let end = self.at + len;
        match field {
            Some(Field::Message(description)) => {
                // A growing vector has room for twice as many as it holds, and for a moment is there twice.
                self.need(3 * description.bytes);
                return self.message(description, end, depth + 1);
            }
            Some(Text) => self.need(len.saturating_add(3 * size_of::<String>())),
            Some(Shared) => self.need(3 * size_of::<Bytes>()),
            Some(Varints(size)) => {
                let packed = &self.bytes[self.at..end];
                let numbers = packed.iter().filter(|&&byte| byte < 0x80).count();
                self.need(numbers.saturating_mul(3 * size));
            }
            Some(Fixed) => self.need(len.saturating_mul(3)),
            None => {}
        }
        self.at = end;
        Ok(())
    }

    fn fixed(&mut self, len: usize, field: Option<Field>, end: usize) -> Result<()> {
        if end - self.at < len {
            return Err(self.wrong(&format!(
                "a number of {len} bytes where {} are left",
                end - self.at
            )));
        }
        if let Some(Fixed) = field {
            self.need(3 * len);
        }
        self.at += len;
        Ok(())
    }

    fn varint(&mut self, end: usize) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes[..end].get(self.at) else {
                return Err(self.wrong("a number is cut off"));
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number of more than ten bytes"))
    }

    fn need(&mut self, bytes: usize) {
        self.needed = self.needed.saturating_add(bytes);
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Model {
            what: format!(
                "no valid protobuf: {what} at byte {} of {}",
                self.at,
                self.bytes.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::attribute_kind;

    fn read(bytes: Vec<u8>, limit: usize) -> Result<ModelProto> {
        decode(bytes.into(), &Source::new(None, limit))
    }

    /// A model with everything that a file can hold.
    fn model() -> ModelProto {
        let tensor = TensorProto {
            dims: vec![2, 3],
            data_type: 1,
            float_data: vec![1.0; 6],
            name: "w".to_owned(),
            ..TensorProto::default()
        };
        let attribute = AttributeProto {
            name: "kernel_shape".to_owned(),
            ints: vec![1, -1, i64::MAX],
            strings: vec![Bytes::from_static(b"x")],
            t: Some(tensor.clone()),
            kind: attribute_kind::INTS,
            ..AttributeProto::default()
        };
        let node = NodeProto {
            input: vec!["x".to_owned(), String::new()],
            output: vec!["y".to_owned()],
            op_type: "Conv".to_owned(),
            attribute: vec![attribute],
            ..NodeProto::default()
        };
        ModelProto {
            ir_version: 8,
            graph: Some(GraphProto {
                node: vec![node; 3],
                initializer: vec![tensor],
                ..GraphProto::default()
            }),
            opset_import: vec![OperatorSetProto {
                domain: String::new(),
                version: 17,
            }],
            ..ModelProto::default()
        }
    }

    #[test]
    fn a_message_comes_back() {
        let model = model();
        assert_eq!(read(model.encode_to_vec(), 1 << 20).unwrap(), model);
    }

    /// Cut anywhere, a message ends in an error or in a shorter message, and never in the middle of a number.
    #[test]
    fn cut_off_anywhere() {
        let bytes = model().encode_to_vec();
        let mut errors = 0;
        for len in 0..bytes.len() {
            match read(bytes[..len].to_vec(), 1 << 20) {
                Ok(short) => assert!(short.encoded_len() <= len),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains(&format!("of {len}")), "{error}");
                }
            }
        }
        assert!(errors > bytes.len() * 9 / 10, "{errors} of {}", bytes.len());
    }

    #[test]
    fn lengths_and_types_that_lie() {
        for (bytes, expected) in [
            (&[0x3a, 0x7f][..], "field 7 claims 127 bytes, 0 are left"),
            (
                &[
                    0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
                "claims 18446744073709551615 bytes",
            ),
            (&[0x08], "a number is cut off"),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00,
                ],
                "more than ten bytes",
            ),
            (&[0x09, 0, 0], "a number of 8 bytes where 2 are left"),
            (&[0x0b], "wire type 3"),
            (&[0x38, 0x01], "expected kind"),
            (&[0x12, 0x02, 0xff, 0xff], "expected kind"),
        ] {
            let error = read(bytes.to_vec(), 1 << 20).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }

    /// `depth` graphs, each an attribute of a node of the one around it.
    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            for tag in [6u8, 5, 1] {
                let mut outer = vec![tag << 3 | 2];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
        }
        let mut outer = vec![7 << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.append(&mut bytes);
        outer
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(read(nested(30), 1 << 20).is_ok());
        for depth in [40, 4000] {
            let error = read(nested(depth), 1 << 30).unwrap_err().to_string();
            assert!(error.contains("nested deeper than 100"), "{error}");
        }
    }

    /// Two bytes a node: the messages would take a hundred times the file.
    #[test]
    fn small_files_of_large_messages() {
        let mut bytes = vec![7 << 3 | 2];
        prost::encoding::encode_varint(2_000_000, &mut bytes);
        bytes.extend([1 << 3 | 2, 0].repeat(1_000_000));
        let error = read(bytes, 1 << 27).unwrap_err();
        let Error::MemoryBudget { needed, budget } = error else {
            panic!("{error}")
        };
        assert!(needed > 1_000_000 * size_of::<NodeProto>() && budget == 1 << 27);
    }
}
