//! MNIST's files (idx), plain or packed with gzip.
//!
//! ```text
//! 0, 0, type, rank │ a size for each axis, 4 bytes, the first one highest │ elements
//! ```
//!
//! The type is 8, u8; `[N, H, W]` for images, `[N]` for labels. What the header claims is compared with the file
//! before anything is allocated: a plain file has exactly as many bytes, a packed one enough to unpack to as many
//! (deflate makes at most 1032 of one), and a limit holds for both. No more is unpacked than is claimed and one byte
//! to see that there is no more; the checksum is compared.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ndarray::{ArrayD, IxDyn};

use super::{regular, unreadable, within};
use crate::element::reserved;
use crate::error::{Error, Result};

/// Bytes that the elements of a file may take where the caller says nothing.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// The most axes: images with channels. With 32 bits each their product fits 128.
const MAX_RANK: u8 = 4;

/// Deflate's densest code is 258 bytes in 2 bits.
const MOST_UNPACKED: u64 = 1032;

/// The array in an idx file, plain or packed, of at most `limit` bytes.
///
/// # Errors
/// A file that cannot be read; and as [`read`].
pub fn read_file(path: &Path, limit: u64) -> Result<ArrayD<u8>> {
    let (file, len) = regular(path)?;
    parse(BufReader::new(file), len, limit).map_err(|error| error.at(path.display().to_string()))
}

/// The array in the bytes of an idx file, plain or packed, of at most `limit` bytes.
///
/// # Errors
/// No idx file of u8 with one to four axes; fewer or more bytes than its shape says; a broken packing; an array
/// beyond the limit.
pub fn read(bytes: &[u8], limit: u64) -> Result<ArrayD<u8>> {
    parse(bytes, bytes.len() as u64, limit)
}

fn parse(mut reader: impl BufRead, len: u64, limit: u64) -> Result<ArrayD<u8>> {
    let mut start = Vec::with_capacity(2);
    let taken = reader.by_ref().take(2).read_to_end(&mut start);
    taken.map_err(|error| stopped("the file", &error))?;
    let packed = start == [0x1f, 0x8b];
    let whole = Cursor::new(start).chain(reader);
    if packed {
        return array(MultiGzDecoder::new(whole), "the gzip stream", |claimed| {
            let most = u128::from(len) * u128::from(MOST_UNPACKED);
            check(claimed <= most, || {
                format!("{len} packed bytes make {most} at most")
            })
            .and_then(|()| within_limit(claimed, limit))
        });
    }
    array(whole, "the file", |claimed| {
        check(claimed == len.into(), || format!("the file has {len}"))
            .and_then(|()| within_limit(claimed, limit))
    })
}

fn check(holds: bool, what: impl Fn() -> String) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(unreadable(what())),
    }
}

fn within_limit(claimed: u128, limit: u64) -> Result<()> {
    let claimed = u64::try_from(claimed).unwrap_or(u64::MAX);
    within(claimed, limit, || "an idx file".to_owned())
}

/// The array that `reader` gives, if `possible` says so of its bytes together with the header.
fn array(
    mut reader: impl Read,
    source: &str,
    possible: impl Fn(u128) -> Result<()>,
) -> Result<ArrayD<u8>> {
    let shape = shape(&mut reader, source)?;
    let elements: u128 = shape.iter().map(|&size| u128::from(size)).product();
    let header = 4 + 4 * shape.len() as u128;
    let claim = || {
        format!(
            "the header claims an array of shape {shape:?}, {} bytes",
            // At most (2³² − 1)⁴, so that this does not overflow.
            elements + header
        )
    };
    possible(elements + header).map_err(|error| match error {
        Error::Data { what } => unreadable(format!("{}; {what}", claim())),
        other => other,
    })?;
    let overflow = |_| Error::Overflow {
        what: "an idx file",
    };
    let len = usize::try_from(elements).map_err(overflow)?;
    let mut bytes = reserved(len)?;
    let taken = reader.by_ref().take(len as u64).read_to_end(&mut bytes);
    let taken = taken.map_err(|error| stopped(source, &error))?;
    check(taken == len, || {
        format!(
            "{}; {source} ends after {}",
            claim(),
            taken as u128 + header
        )
    })?;
    // Reading beyond the last byte also compares the checksum of a packed file.
    let beyond = reader.read(&mut [0]);
    let beyond = beyond.map_err(|error| stopped(source, &error))?;
    check(beyond == 0, || format!("{}; {source} has more", claim()))?;
    let mut sizes = Vec::with_capacity(shape.len());
    for size in shape {
        sizes.push(usize::try_from(size).map_err(overflow)?);
    }
    ArrayD::from_shape_vec(IxDyn(&sizes), bytes).map_err(|error| unreadable(error.to_string()))
}

/// The sizes in the header.
fn shape(reader: &mut impl Read, source: &str) -> Result<Vec<u32>> {
    let mut next = || {
        let mut four = [0; 4];
        let read = reader.read_exact(&mut four);
        read.map_err(|error| stopped(source, &error))?;
        Ok(four)
    };
    let [zero, also, kind, rank] = next()?;
    check(zero == 0 && also == 0, || {
        format!("not an idx file: it begins with the bytes {zero:#04x} {also:#04x}, not with zeros")
    })?;
    check(kind == 8, || {
        format!("elements of the idx type {kind:#04x}, expected 0x08, u8")
    })?;
    check((1..=MAX_RANK).contains(&rank), || {
        format!("an idx file of {rank} axes, expected 1 to {MAX_RANK}")
    })?;
    (0..rank)
        .map(|_| next().map(u32::from_be_bytes))
        .collect::<Result<_>>()
}

fn stopped(source: &str, error: &io::Error) -> Error {
    unreadable(match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("{source} is cut short"),
        _ => format!("{source} is broken: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn idx(kind: u8, shape: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn text(bytes: &[u8], limit: u64) -> String {
        read(bytes, limit).unwrap_err().to_string()
    }

    #[test]
    fn arrays_plain_and_packed() {
        for shape in [&[3][..], &[2, 2, 3], &[1, 2, 3, 2], &[0, 28, 28], &[5, 0]] {
            let len = shape.iter().product::<u32>();
            let elements: Vec<u8> = (0..len).map(|value| 250 - value as u8).collect();
            let plain = idx(8, shape, &elements);
            let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
            let expected = ArrayD::from_shape_vec(sizes, elements).unwrap();
            assert_eq!(read(&plain, 1000), Ok(expected.clone()));
            assert_eq!(read(&packed(&plain), 1000), Ok(expected.clone()));
            // A gzip file may have several members.
            let (one, other) = plain.split_at(5);
            let members = [packed(one), packed(other)].concat();
            assert_eq!(read(&members, 1000), Ok(expected));
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let plain = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        let packed = packed(&plain);
        for whole in [&plain, &packed] {
            for len in 0..whole.len() {
                assert!(read(&whole[..len], 1000).is_err(), "{len} bytes");
            }
            let mut long = whole.clone();
            long.push(0);
            assert!(read(&long, 1000).is_err());
        }
        // Any flipped bit of the checksum and the length at the end.
        for bit in 0..64 {
            let mut broken = packed.clone();
            let at = broken.len() - 8 + bit / 8;
            broken[at] ^= 1 << (bit % 8);
            assert!(text(&broken, 1000).contains("checksum"), "bit {bit}");
        }
    }

    #[test]
    fn claims_are_checked_with_numbers() {
        let error = text(&idx(8, &[3, 2], &[0; 5]), 1000);
        assert!(
            error.contains("[3, 2], 18 bytes; the file has 17"),
            "{error}"
        );
        let error = text(&idx(8, &[u32::MAX; 4], &[0; 5]), u64::MAX);
        assert!(
            error.contains("340282366604025813516997721482669850645"),
            "{error}"
        );
        let error = text(&idx(8, &[5], &[0; 5]), 12);
        assert!(error.contains("13") && error.contains("12"), "{error}");
        assert!(read(&idx(8, &[5], &[0; 5]), 13).is_ok());
        assert!(text(&idx(13, &[1], &[0; 4]), 1000).contains("0x0d"));
        assert!(text(&idx(8, &[], &[]), 1000).contains("0 axes"));
        assert!(text(&idx(8, &[1; 5], &[0]), 1000).contains("5 axes"));
        let error = text(&packed(&idx(8, &[3, 2], &[0; 5])), 1000);
        assert!(
            error.contains("18 bytes; the gzip stream ends after 17"),
            "{error}"
        );
        let error = text(&packed(&idx(8, &[3, 2], &[0; 7])), 1000);
        assert!(error.contains("the gzip stream has more"), "{error}");
        // Far more than so few bytes can unpack to, however high the limit.
        let error = text(&packed(&idx(8, &[1 << 30], &[])), u64::MAX);
        assert!(error.contains("at most"), "{error}");
        assert!(text(&packed(&idx(8, &[900], &[0; 900])), 900).contains("908"));
    }
}
