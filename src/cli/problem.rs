//! oneDNN's problem descriptors, as its `benchdnn` reads them: text to checked sizes.
//!
//! ```text
//! g1mb1_ic64ih56iw56_oc64oh56ow56_kh3kw3_sh1sw1_ph1pw1_dh0dw0_n"name"
//! g groups · mb batch · ic, oc channels · i, o, k lengths of input, output, kernel
//! s stride · p padding before · d dilation minus one · each for depth d, height h, width w
//! ```
//!
//! The rules: g = 1, mb = 2, s = 1, d = 0 where not given; `_` separates and means nothing. An axis of
//! which nothing is given is not there: width alone is one-dimensional. A square is written by its
//! height alone, a cube by its depth alone: the *whole* axis is then copied, never a single number of
//! it. Without an output length the padding is p (or 0) on both sides; without p, the padding that the
//! output length needs, smaller half first. Given both, the padding after is whatever the output needs.

mod error;

use std::fmt;
use std::str::FromStr;

use crate::{ConvGeometry, ConvOptions, Layout, Result};

use error::LARGEST;
pub use error::ProblemError;

/// The spatial letters, outermost first.
const LETTERS: [char; 3] = ['d', 'h', 'w'];

/// One axis of a problem, everything deduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: (usize, usize),
}

/// A convolution as a descriptor says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    text: String,
    name: Option<String>,
    groups: usize,
    batch: usize,
    inputs: usize,
    outputs: usize,
    axes: Vec<Axis>,
}

impl Problem {
    /// The descriptor as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Its name, with a count like `*4` where the list has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// The name, or the descriptor where there is none.
    pub fn label(&self) -> &str {
        self.name().unwrap_or(&self.text)
    }
    /// The batch the descriptor asks for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The geometry, in `layout`, with another batch where one is given.
    ///
    /// # Errors
    /// Those of [`ConvGeometry::new`]: groups that do not divide, sizes beyond the address space.
    pub fn geometry(&self, layout: Layout, batch: Option<usize>) -> Result<ConvGeometry> {
        let list = |value: fn(&Axis) -> usize| self.axes.iter().map(value).collect::<Vec<_>>();
        let pads: Vec<(usize, usize)> = self.axes.iter().map(|axis| axis.pad).collect();
        let options = ConvOptions::new()
            .stride(list(|axis| axis.stride).as_slice())
            .dilation(list(|axis| axis.dilation).as_slice())
            .padding(pads.as_slice())
            .groups(self.groups)
            .layout(layout);
        let input = layout.shape(
            batch.unwrap_or(self.batch),
            self.inputs,
            &list(|axis| axis.input),
        );
        let channels = self.inputs / self.groups;
        let weight = [
            &[self.outputs, channels],
            list(|axis| axis.kernel).as_slice(),
        ]
        .concat();
        ConvGeometry::new(&input, &weight, &options)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Problem {
    type Err = ProblemError;

    fn from_str(text: &str) -> std::result::Result<Self, ProblemError> {
        let text = text.trim();
        let (entries, name) = read(text)?;
        let [d, h, w] = LETTERS.map(|letter| axis(&entries, letter));
        let axes = match (d?, h?, w?) {
            (Some(d), None, None) => vec![d, d, d],
            (Some(d), Some(h), Some(w)) => vec![d, h, w],
            (Some(_), Some(_), None) => return Err(half_cube("height", "width")),
            (Some(_), None, Some(_)) => return Err(half_cube("width", "height")),
            (None, Some(h), w) => vec![h, w.unwrap_or(h)],
            (None, None, Some(w)) => vec![w],
            (None, None, None) => return Err(ProblemError::NoAxis),
        };
        Ok(Self {
            text: text.to_owned(),
            name,
            // `g0` is a mistake, no `g` is one group.
            groups: if entries.get("g").is_some() {
                entries.needed("g")?
            } else {
                1
            },
            batch: entries.get("mb").unwrap_or(2),
            inputs: entries.needed("ic")?,
            outputs: entries.needed("oc")?,
            axes,
        })
    }
}

fn half_cube(given: &'static str, missing: &'static str) -> ProblemError {
    ProblemError::HalfCube { given, missing }
}

/// The numbers of a descriptor by their keys, in the order written.
struct Entries<'t>(Vec<(&'t str, usize)>);

impl Entries<'_> {
    fn get(&self, key: &str) -> Option<usize> {
        self.0
            .iter()
            .find(|(known, _)| *known == key)
            .map(|&(_, value)| value)
    }

    /// The number of a key that must be there and at least one.
    fn needed(&self, key: &str) -> std::result::Result<usize, ProblemError> {
        self.get(key)
            .filter(|&value| value > 0)
            .ok_or_else(|| ProblemError::Missing {
                key: key.to_owned(),
            })
    }
}

/// Text to keys with numbers, and the name.
fn read(text: &str) -> std::result::Result<(Entries<'_>, Option<String>), ProblemError> {
    let mut entries = Entries(Vec::new());
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches('_');
        if rest.is_empty() {
            return Ok((entries, None));
        }
        if let Some(name) = rest.strip_prefix('n') {
            return Ok((entries, unquoted(name)?));
        }
        let letters = rest
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(letters);
        if !is_key(key) {
            return Err(ProblemError::Unrecognized {
                rest: rest.to_owned(),
            });
        }
        let length = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (digits, after) = after.split_at(length);
        if digits.is_empty() {
            return Err(ProblemError::NoNumber {
                key: key.to_owned(),
                rest: after.to_owned(),
            });
        }
        let value = digits
            .parse::<usize>()
            .ok()
            .filter(|&value| value as u128 <= LARGEST)
            .ok_or_else(|| ProblemError::TooLarge {
                key: key.to_owned(),
                digits: digits.to_owned(),
            })?;
        match entries.get(key) {
            Some(first) if first != value => {
                return Err(ProblemError::Twice {
                    key: key.to_owned(),
                    first,
                    second: value,
                });
            }
            Some(_) => {}
            None => entries.0.push((key, value)),
        }
        rest = after;
    }
}

fn is_key(key: &str) -> bool {
    if matches!(key, "g" | "mb" | "ic" | "oc") {
        return true;
    }
    let mut letters = key.chars();
    let (kind, axis, end) = (letters.next(), letters.next(), letters.next());
    kind.is_some_and(|kind| "iokspd".contains(kind))
        && axis.is_some_and(|axis| LETTERS.contains(&axis))
        && end.is_none()
}

/// `"name"*4` and `name*4` to `name*4`; nothing where there is no name after the `n`.
fn unquoted(name: &str) -> std::result::Result<Option<String>, ProblemError> {
    let plain = match name.strip_prefix('"') {
        None => name.to_owned(),
        Some(quoted) => {
            let (inside, after) = quoted.split_once('"').ok_or_else(|| ProblemError::Quote {
                name: name.to_owned(),
            })?;
            format!("{inside}{after}")
        }
    };
    Ok(Some(plain).filter(|plain| !plain.is_empty()))
}

/// One axis with its output length and padding deduced; nothing where nothing of it is given.
fn axis(entries: &Entries<'_>, letter: char) -> std::result::Result<Option<Axis>, ProblemError> {
    let key = |kind: char| format!("{kind}{letter}");
    let get = |kind: char| entries.get(&key(kind));
    // Given as zero is not given, but for the padding: `pw0` asks for none, no `pw` for what fits.
    let output = get('o').filter(|&output| output > 0);
    let gap = get('d').unwrap_or(0);
    let pad = get('p');
    if [get('i'), get('k'), output, Some(gap), pad]
        .iter()
        .all(|value| value.unwrap_or(0) == 0)
        && get('s').unwrap_or(1) == 1
    {
        return Ok(None);
    }
    let (input, kernel) = (entries.needed(&key('i'))?, entries.needed(&key('k'))?);
    let stride = if get('s').is_some() {
        entries.needed(&key('s'))?
    } else {
        1
    };
    // Each factor is at most isize::MAX, so a product fits an i128.
    let extent = (kernel as i128 - 1) * (gap as i128 + 1) + 1;
    let Some(output) = output else {
        let pad = pad.unwrap_or(0);
        let padded = input as i128 + 2 * pad as i128;
        if extent > padded {
            return Err(ProblemError::KernelTooLarge {
                letter,
                kernel,
                gap,
                extent,
                input,
                pad,
                padded,
            });
        }
        return Ok(Some(Axis {
            input,
            kernel,
            stride,
            dilation: gap + 1,
            pad: (pad, pad),
        }));
    };
    // (o − 1) · s + extent elements are read from first to last; what the input lacks is padding.
    let lacking = (output as i128 - 1) * stride as i128 + extent - input as i128;
    let before = pad.map_or((lacking.max(0) / 2).min(extent - 1), |pad| pad as i128);
    let after = lacking - before;
    // Up to a stride's remainder of the input may stay unread. Windows that begin beyond the last
    // element are a mistake, unless the padding before is as large.
    let most = (extent - 1).max(before);
    let out_of = |after: i128| {
        let free = input as i128 + before + after - extent;
        if free < 0 {
            0
        } else {
            free / stride as i128 + 1
        }
    };
    let fits = after > -(stride as i128) && after <= most;
    match (usize::try_from(before), usize::try_from(after.max(0))) {
        (Ok(before), Ok(after)) if fits => Ok(Some(Axis {
            input,
            kernel,
            stride,
            dilation: gap + 1,
            pad: (before, after),
        })),
        _ => Err(ProblemError::Output {
            letter,
            output,
            input,
            kernel,
            stride,
            before,
            gap,
            least: out_of(0).max(1),
            most: out_of(most),
            after: most,
        }),
    }
}

/// The problems of a list, and the options of it that were passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemList {
    /// In the order written.
    pub problems: Vec<Problem>,
    /// Line number, counted from 1, and option: `benchdnn`'s settings for the lines after it.
    pub passed_over: Vec<(usize, String)>,
}

impl FromStr for ProblemList {
    type Err = ProblemError;

    /// Reads descriptors separated by white space; `#` begins a comment, `--…` is an option.
    fn from_str(text: &str) -> std::result::Result<Self, ProblemError> {
        let mut list = Self::default();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            for word in words(text) {
                if word.starts_with("--batch") {
                    return Err(ProblemError::Include {
                        line,
                        option: word.to_owned(),
                    });
                }
                if word.starts_with("--") {
                    list.passed_over.push((line, word.to_owned()));
                    continue;
                }
                list.problems
                    .push(word.parse().map_err(|error| ProblemError::Line {
                        line,
                        text: word.to_owned(),
                        error: Box::new(error),
                    })?);
            }
        }
        Ok(list)
    }
}

/// The words of a line up to a word that begins with `#`; quotation marks keep spaces together.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(text: &str) -> ConvGeometry {
        let problem: Problem = text.parse().unwrap();
        problem.geometry(Layout::ChannelsFirst, None).unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<Problem>().unwrap_err().to_string()
    }

    fn pads(text: &str) -> Vec<(usize, usize)> {
        geometry(text)
            .axes()
            .iter()
            .map(|axis| axis.pad())
            .collect()
    }

    #[test]
    fn the_full_form() {
        let text = r#"g32mb1ic128ih56iw57oc64oh28ow57kh3kw5sh2sw1ph1pw2dh0dw0n"resnext:a*3""#;
        let problem: Problem = text.parse().unwrap();
        assert_eq!(
            (problem.name(), problem.text()),
            (Some("resnext:a*3"), text)
        );
        let geometry = problem.geometry(Layout::ChannelsLast, Some(7)).unwrap();
        assert_eq!(geometry.input_shape(), [7, 56, 57, 128]);
        assert_eq!(geometry.weight_shape(), [64, 4, 3, 5]);
        assert_eq!(geometry.output_shape(), [7, 28, 57, 64]);
        assert_eq!(geometry.axes()[0].pad(), (1, 0)); // 27 · 2 + 3 = 1 + 56
        assert_eq!(geometry.axes()[1].pad(), (2, 2));
    }

    #[test]
    fn defaults_and_copies() {
        let square = geometry("ic3_ih9_oc4_kh3_sh2_ph1");
        assert_eq!(square.input_shape(), [2, 3, 9, 9]);
        assert_eq!(square.output_shape(), [2, 4, 5, 5]);
        let cube = geometry("ic3id9oc4kd3dd1");
        assert_eq!(cube.input_shape(), [2, 3, 9, 9, 9]);
        assert_eq!(cube.output_shape(), [2, 4, 5, 5, 5]);
        assert_eq!(cube.axes()[2].dilation(), 2);
        let line = geometry("mb5ic3iw9oc4kw3");
        assert_eq!(line.output_shape(), [5, 4, 7]);
        // A whole axis is copied or none of it: this stride belongs to the height alone.
        let tall = geometry("ic1ih9iw9oc1kh3kw3sh2");
        assert_eq!(tall.output_shape(), [2, 1, 4, 7]);
        // Trivial settings do not make an axis.
        assert_eq!(geometry("ic1iw9oc1kw3sh1ph0dh0").rank(), 1);
    }

    #[test]
    fn padding_from_the_output_length() {
        // 14 outputs two apart need 31 elements of 28: one before, two after.
        assert_eq!(pads("ic1ih28oc16oh14kh5sh2"), [(1, 2), (1, 2)]);
        assert_eq!(pads("ic1ih28oc16oh14kh5sh2ph2"), [(2, 1), (2, 1)]);
        // A stride's remainder stays unread.
        assert_eq!(pads("ic1iw224oc1ow112kw1sw2"), [(0, 0)]);
        assert_eq!(geometry("ic1iw7oc1ow2kw1sw5").output_shape(), [2, 1, 2]);
        // Padding before and after as large as the kernel, and larger: oneDNN's large padding.
        assert_eq!(
            geometry("ic1oc64iw100ow98kw5pw50sw2").output_shape(),
            [2, 64, 98]
        );
        assert_eq!(pads("ic16oc16_iw1kw3ow100pw100"), [(100, 1)]);
    }

    #[test]
    fn an_output_that_cannot_be_is_an_error_with_numbers() {
        assert_eq!(
            error("ic1ih56oc1oh58kh3ph1"),
            "oh58 cannot come out of ih56 kh3 sh1 ph1 dh0: 55 to 57 can, with padding after the input from 0 to 2"
        );
        assert!(error("ic1ih56oc1oh54kh3ph1").contains("55 to 57"));
        assert!("ic1ih56oc1oh55kh3ph1".parse::<Problem>().is_ok());
        assert!(error("ic1ih56oc1oh55kh1").contains("56 to 56"));
        assert!(error("ic1ih9oc1oh59kh3").contains("ph2 dh0: 9 to 11 can"));
        assert!(
            error("ic1ih4oc1kh7ph1")
                .contains("reaches over 7 elements, ih4 with ph1 on both sides has 6")
        );
        assert!(
            error("ic1iw4oc1kw3dw9223372036854775807")
                .contains("reaches over 18446744073709551617")
        );
    }

    #[test]
    fn what_is_not_a_descriptor_is_named() {
        assert!(error("ic3ih9oc4kh3xh2").contains("`xh2` begins with no key"));
        assert!(error("ic3 ih9").contains("` ih9` begins with no key"));
        assert!(error("ic3ih9oc4khph1").contains("`khph1` begins with no key"));
        assert!(error("ic3ih9oc4kh_ph1").contains("`kh` is followed by `_ph1`"));
        assert!(error("ic3ih-9oc4kh3").contains("`ih` is followed by `-9oc4kh3`"));
        assert!(
            error("ic99999999999999999999ih9oc4kh3").contains("ic99999999999999999999 is above")
        );
        assert!(error("ic3ih9oc4kh3ic4").contains("`ic` is given twice, 3 and 4"));
        assert!(error("ih9oc4kh3").contains("`ic` is missing or 0"));
        assert!(error("g0ic1ih9oc4kh3").contains("`g` is missing or 0"));
        assert!(error("ic1ih9oc4kh3sh0").contains("`sh` is missing or 0"));
        assert!(error("ic1ih9oc4ph1").contains("`kh` is missing or 0"));
        assert!(error("ic1oc4").contains("no spatial axis"));
        assert!(error("ic1oc4id9kd3iw9kw3").contains("depth and width are given, height is not"));
        assert!(error("ic1ih9oc4kh3n\"open").contains("no closing quotation mark"));
        assert!(error("").contains("no spatial axis"));
        let groups: Problem = "g3ic4ih9oc6kh3".parse().unwrap();
        let message = groups
            .geometry(Layout::ChannelsFirst, None)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "3 groups do not divide 4 input channels");
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let problem: Problem = "ic9223372036854775807iw2oc4kw1".parse().unwrap();
        assert!(problem.geometry(Layout::ChannelsFirst, None).is_err());
        let problem: Problem = "ic1iw9oc4kw1pw9223372036854775807".parse().unwrap();
        assert!(problem.geometry(Layout::ChannelsFirst, None).is_err());
    }

    #[test]
    fn lists_have_comments_options_and_several_problems_a_line() {
        let list: ProblemList =
            "# a comment\n\n--strides=1x2 ic1ih9oc4kh3n\"a b\" # c\r\nic1iw9oc4kw3_n\"x*2\" ic2iw9oc4kw3\n"
                .parse()
                .unwrap();
        let names: Vec<_> = list.problems.iter().map(Problem::label).collect();
        assert_eq!(names, ["a b", "x*2", "ic2iw9oc4kw3"]);
        assert_eq!(list.passed_over, [(3, "--strides=1x2".to_owned())]);
        let error = "ic1iw9oc4kw3\nic1iw9\n"
            .parse::<ProblemList>()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "line 2: `ic1iw9`: `kw` is missing or 0");
        let error = "--batch=shapes_1d"
            .parse::<ProblemList>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("names another file"), "{error}");
    }
}
