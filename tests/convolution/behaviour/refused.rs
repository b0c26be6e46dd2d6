//! Impossible windows: each refused by every entry point, with the same error and its numbers.

use std::panic::catch_unwind;

use gemmconv::unfold::{PatchOrder, unfold};
use gemmconv::{
    ConvGeometry, ConvOptions, Element, Error, Padding, PaddingMode, PatchGeometry, PerAxis,
    Result, conv,
};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use crate::support::Failures;

/// A request that must be refused.
pub struct Request {
    /// What is wrong, or who fell into it.
    name: &'static str,
    input: Vec<usize>,
    weight: Vec<usize>,
    options: ConvOptions,
    expected: Error,
}

pub fn request(
    name: &'static str,
    input: &[usize],
    weight: &[usize],
    options: ConvOptions,
    expected: Error,
) -> Request {
    Request {
        name,
        input: input.to_vec(),
        weight: weight.to_vec(),
        options,
        expected,
    }
}

/// A view of `shape` on a single zero, if ndarray can have such a shape.
pub fn zeros<'z, T: Element>(zero: &'z ArrayD<T>, shape: &[usize]) -> Option<ArrayViewD<'z, T>> {
    zero.broadcast(IxDyn(shape))
}

/// The geometry and the one-call functions, in f32 and f64.
pub fn entries(request: &Request) -> Vec<(&'static str, Result<()>)> {
    fn one_call<T: Element>(request: &Request) -> Option<Result<()>> {
        let zero = ArrayD::from_elem(IxDyn(&[]), T::ZERO);
        let (x, w) = (
            zeros(&zero, &request.input)?,
            zeros(&zero, &request.weight)?,
        );
        // A rank that differs between the two arrays is told by the shapes alone.
        Some(conv(&x, &w, None, &request.options).map(drop))
    }
    let geometry = ConvGeometry::new(&request.input, &request.weight, &request.options).map(drop);
    let mut entries = vec![("geometry", geometry)];
    entries.extend(one_call::<f32>(request).map(|result| ("conv of f32", result)));
    entries.extend(one_call::<f64>(request).map(|result| ("conv of f64", result)));
    entries
}

/// What the window alone is wrong about, unfold must refuse in the same words.
fn window_entries(request: &Request) -> Vec<(&'static str, Result<()>)> {
    let kernel = &request.weight[2..];
    let geometry = PatchGeometry::new(&request.input, kernel, &request.options).map(drop);
    let zero = ArrayD::from_elem(IxDyn(&[]), 0.0f32);
    let mut entries = vec![("patch geometry", geometry)];
    if let Some(x) = zeros(&zero, &request.input) {
        let patches = unfold(
            &x,
            kernel,
            &request.options,
            PatchOrder::ElementsByPositions,
        );
        entries.push(("unfold", patches.map(drop)));
    }
    entries
}

/// What every entry point makes of a request.
type Entries = fn(&Request) -> Vec<(&'static str, Result<()>)>;

pub fn refuse_all(requests: Vec<Request>, entries: Entries) {
    let mut failures = Failures::new();
    for request in &requests {
        let results = catch_unwind(|| entries(request));
        let Ok(results) = results else {
            failures.check(false, || format!("{}: panicked", request.name));
            continue;
        };
        for (entry, result) in results {
            failures.check(result.as_ref() == Err(&request.expected), || {
                format!(
                    "{} ({entry}): {result:?}, expected {:?}",
                    request.name, request.expected
                )
            });
        }
        let message = request.expected.to_string();
        failures.check(message.len() > 10, || {
            format!("{}: says only {message:?}", request.name)
        });
    }
    failures.finish(2 * requests.len());
}

pub fn options() -> ConvOptions {
    ConvOptions::new()
}

/// Wrong in image, kernel, stride, dilation or padding: the window's part.
fn windows() -> Vec<Request> {
    let zero = |what, axis| Error::Zero { what, axis };
    let overflow = |what| Error::Overflow { what };
    let listed = |option, got| Error::OptionRank {
        option,
        expected: 2,
        got,
    };
    let too_large = |axis, extent, padded| Error::KernelTooLarge {
        axis,
        extent,
        padded,
    };
    let (image, kernel) = ([1, 2, 6, 5], [3, 2, 3, 3]);
    let mut requests = vec![
        // Zeros. CVE-2021-29586, -29594, -37684, CVE-2022-21741, pytorch 149274 and 73193.
        request(
            "stride 0",
            &image,
            &kernel,
            options().stride(0),
            zero("stride", 0),
        ),
        request(
            "stride 0 on the second axis",
            &image,
            &kernel,
            options().stride([1, 0]),
            zero("stride", 1),
        ),
        request(
            "dilation 0",
            &image,
            &kernel,
            options().dilation(0),
            zero("dilation", 0),
        ),
        request(
            "dilation 0 on the second axis",
            &image,
            &kernel,
            options().dilation([2, 0]),
            zero("dilation", 1),
        ),
        request(
            "empty kernel",
            &image,
            &[3, 2, 0, 3],
            options(),
            zero("kernel", 0),
        ),
        request(
            "empty kernel, rank 3",
            &[1, 1, 2, 2, 2],
            &[1, 1, 1, 2, 0],
            options(),
            zero("kernel", 2),
        ),
        request(
            "no input channels (CVE-2021-29517)",
            &[0, 0, 0, 0, 0],
            &[1, 0, 1, 1, 1],
            options(),
            Error::ZeroCount {
                what: "input channels",
            },
        ),
        // Kernels larger than the image. candle 1445, tensorflow's "Negative dimension size".
        request(
            "kernel larger than the image",
            &[1, 2, 4, 9],
            &[3, 2, 7, 3],
            options(),
            too_large(0, 7, 4),
        ),
        request(
            "kernel larger than the padded image",
            &image,
            &[3, 2, 3, 9],
            options().padding(1),
            too_large(1, 9, 7),
        ),
        request(
            "dilated kernel larger than the image",
            &image,
            &kernel,
            options().dilation([1, 3]),
            too_large(1, 7, 5),
        ),
        request(
            "empty image",
            &[1, 2, 0, 5],
            &kernel,
            options(),
            too_large(0, 3, 0),
        ),
        request(
            "empty image, SAME",
            &[1, 2, 6, 0],
            &kernel,
            options().padding(Padding::SameUpper),
            too_large(1, 3, 0),
        ),
        request(
            "kernel of 2⁶³ − 1",
            &[1, 1, 4],
            &[1, 1, isize::MAX as usize],
            options(),
            too_large(0, isize::MAX as usize, 4),
        ),
        // Padding that its content cannot fill.
        request(
            "reflection of as much as there is",
            &image,
            &kernel,
            options()
                .padding([(0, 0), (5, 1)])
                .padding_mode(PaddingMode::Reflect),
            Error::PaddingTooLarge {
                mode: "reflect",
                axis: 1,
                pad: 5,
                input: 5,
                limit: 4,
            },
        ),
        request(
            "more than once around",
            &image,
            &kernel,
            options()
                .padding([(0, 7), (0, 0)])
                .padding_mode(PaddingMode::Circular),
            Error::PaddingTooLarge {
                mode: "circular",
                axis: 0,
                pad: 7,
                input: 6,
                limit: 6,
            },
        ),
        request(
            "replication of nothing",
            &[1, 2, 0, 5],
            &kernel,
            options().padding(2).padding_mode(PaddingMode::Replicate),
            Error::PaddingTooLarge {
                mode: "replicate",
                axis: 0,
                pad: 2,
                input: 0,
                limit: 0,
            },
        ),
        // Overflows. oneDNN 122, pytorch 9404, 73189, 188959, 189667, CVE-2021-41197, CVE-2022-35934.
        request(
            "padding of 2⁶²",
            &image,
            &kernel,
            options().padding(1 << 62),
            overflow("padded input"),
        ),
        request(
            "padding of 2⁶⁴ − 1",
            &image,
            &kernel,
            options().padding(usize::MAX),
            overflow("padded input"),
        ),
        request(
            "dilation of 2⁶²",
            &image,
            &kernel,
            options().dilation(1 << 62),
            overflow("kernel extent"),
        ),
        request(
            "dilation of 2⁶⁴ − 1",
            &image,
            &kernel,
            options().dilation(usize::MAX),
            overflow("kernel extent"),
        ),
        request(
            "kernel of 2⁶⁴ − 1",
            &[1, 1, 4],
            &[1, 1, usize::MAX],
            options(),
            overflow("kernel extent"),
        ),
        request(
            "SAME of a kernel of 2⁶³ − 1",
            &[1, 1, 4],
            &[1, 1, isize::MAX as usize],
            options().padding(Padding::SameUpper),
            overflow("padded input"),
        ),
        request(
            "im2col, kernel 1 879 048 192, padding 1.25e12",
            &[1, 1, 4, 4],
            &[1, 1, 1_879_048_192, 1_879_048_192],
            options().padding(1_250_000_000_000),
            overflow("positions"),
        ),
        request(
            "a patch beyond the address space",
            &[1, 1, 4, 4],
            &[1, 1, 1 << 31, 1 << 31],
            options().padding(1 << 31).stride(1 << 31),
            overflow("patch"),
        ),
        request(
            "an image beyond the address space",
            &[1 << 40, 1 << 30, 1],
            &[1, 1 << 30, 1],
            options(),
            overflow("input"),
        ),
        request(
            "none of such images",
            &[0, 1 << 62, 4],
            &[1, 1 << 62, 1],
            options(),
            overflow("input"),
        ),
    ];
    // Lists of another length than there are axes.
    let lists: [&[usize]; 4] = [&[], &[1], &[1, 1, 1], &[1, 1, 1, 1]];
    for list in lists {
        let got = list.len();
        let pads = PerAxis::list(&vec![(1, 1); got]);
        requests.extend([
            request(
                "list of strides",
                &image,
                &kernel,
                options().stride(list),
                listed("stride", got),
            ),
            request(
                "list of dilations",
                &image,
                &kernel,
                options().dilation(list),
                listed("dilation", got),
            ),
            request(
                "list of paddings",
                &image,
                &kernel,
                options().padding(Padding::Explicit(pads)),
                listed("padding", got),
            ),
        ]);
    }
    requests
}

#[test]
fn impossible_windows() {
    refuse_all(windows(), entries);
    refuse_all(windows(), window_entries);
}

/// What looks wrong and is not.
#[test]
fn the_edge_of_what_is_possible() {
    let mut failures = Failures::new();
    type Case<'c> = (&'c str, &'c [usize], &'c [usize], ConvOptions, &'c [usize]);
    let cases: [Case; 9] = [
        (
            "stride beyond everything",
            &[1, 1, 4],
            &[1, 1, 2],
            options().stride(usize::MAX),
            &[1, 1, 1],
        ),
        (
            "dilation of one tap",
            &[1, 1, 4],
            &[1, 1, 1],
            options().dilation(usize::MAX),
            &[1, 1, 4],
        ),
        (
            "kernel = padded image",
            &[1, 1, 4],
            &[1, 1, 8],
            options().padding(2),
            &[1, 1, 1],
        ),
        (
            "circular padding of a whole image",
            &[1, 1, 4],
            &[1, 1, 3],
            options().padding(4).padding_mode(PaddingMode::Circular),
            &[1, 1, 10],
        ),
        (
            "reflection of all but one",
            &[1, 1, 4],
            &[1, 1, 3],
            options().padding(3).padding_mode(PaddingMode::Reflect),
            &[1, 1, 8],
        ),
        (
            "replication far out",
            &[1, 1, 1],
            &[1, 1, 2],
            options().padding(9).padding_mode(PaddingMode::Replicate),
            &[1, 1, 18],
        ),
        (
            "padding beyond the kernel",
            &[1, 1, 2],
            &[1, 1, 1],
            options().padding(3),
            &[1, 1, 8],
        ),
        (
            "SAME of an even kernel, stride, dilation",
            &[1, 1, 9],
            &[1, 1, 4],
            options().padding(Padding::SameUpper).stride(2).dilation(3),
            &[1, 1, 5],
        ),
        ("no images", &[0, 1, 4], &[1, 1, 2], options(), &[0, 1, 3]),
    ];
    for (name, input, weight, options, expected) in cases {
        let (x, w) = (ArrayD::<f64>::ones(input), ArrayD::ones(weight));
        let y = conv(&x, &w, None, &options);
        failures.check(y.as_ref().is_ok_and(|y| y.shape() == expected), || {
            format!("{name}: {y:?}")
        });
    }
    failures.finish(9);
}
