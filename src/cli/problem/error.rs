//! What can be wrong with a problem descriptor, with its keys and numbers.

use thiserror::Error;

/// Numbers beyond this are refused while reading: every product of two then fits an i128.
pub(super) const LARGEST: u128 = isize::MAX as u128;

/// What is wrong with a descriptor, or with a list of them.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// No key of a descriptor begins here.
    #[error(
        "`{rest}` begins with no key of a problem descriptor (g mb ic oc, i o k s p d with d h w, n)"
    )]
    Unrecognized {
        /// The text from the place that was not understood.
        rest: String,
    },
    /// A key without a number.
    #[error("`{key}` is followed by `{rest}`, not by a number from 0")]
    NoNumber {
        /// The key.
        key: String,
        /// What follows it.
        rest: String,
    },
    /// A number larger than any size can be.
    #[error("{key}{digits} is above {LARGEST}, the largest size")]
    TooLarge {
        /// The key.
        key: String,
        /// Its digits.
        digits: String,
    },
    /// A key with two different numbers.
    #[error("`{key}` is given twice, {first} and {second}")]
    Twice {
        /// The key.
        key: String,
        /// The number given first.
        first: usize,
        /// The number given later.
        second: usize,
    },
    /// A number that must be there and at least one.
    #[error("`{key}` is missing or 0")]
    Missing {
        /// The key.
        key: String,
    },
    /// No axis at all.
    #[error("no spatial axis is given; iw and kw at least are needed")]
    NoAxis,
    /// Depth with one of height and width.
    #[error(
        "depth and {given} are given, {missing} is not: give all three axes, or depth alone for a cube"
    )]
    HalfCube {
        /// The axis that is given.
        given: &'static str,
        /// The axis that is not.
        missing: &'static str,
    },
    /// The kernel does not fit into the padded input.
    #[error(
        "k{letter}{kernel} with d{letter}{gap} reaches over {extent} elements, i{letter}{input} with p{letter}{pad} on both sides has {padded}"
    )]
    KernelTooLarge {
        /// The axis: d, h or w.
        letter: char,
        /// Kernel length.
        kernel: usize,
        /// Dilation minus one.
        gap: usize,
        /// The dilated kernel.
        extent: i128,
        /// Input length.
        input: usize,
        /// Padding on each side.
        pad: usize,
        /// The padded input.
        padded: i128,
    },
    /// An output length that no padding after the input explains.
    #[error(
        "o{letter}{output} cannot come out of i{letter}{input} k{letter}{kernel} s{letter}{stride} p{letter}{before} d{letter}{gap}: \
         {least} to {most} can, with padding after the input from 0 to {after}"
    )]
    Output {
        /// The axis: d, h or w.
        letter: char,
        /// The output length given.
        output: usize,
        /// Input length.
        input: usize,
        /// Kernel length.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding before.
        before: i128,
        /// Dilation minus one.
        gap: usize,
        /// The shortest output.
        least: i128,
        /// The longest output.
        most: i128,
        /// The most padding after.
        after: i128,
    },
    /// A name that begins with a quotation mark and does not end with one.
    #[error("the name `{name}` has no closing quotation mark")]
    Quote {
        /// The name from its quotation mark.
        name: String,
    },
    /// A line of a list.
    #[error("line {line}: `{text}`: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The descriptor.
        text: String,
        /// What is wrong with it.
        error: Box<ProblemError>,
    },
    /// A line that names another list.
    #[error("line {line}: `{option}` names another file; give that one to --problems itself")]
    Include {
        /// Counted from 1.
        line: usize,
        /// The option.
        option: String,
    },
}
