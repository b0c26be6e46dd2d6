//! The kernels that have names: what they do, and their weights.

use ndarray::Array2;

/// A kernel with a name of its own.
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What every number of `rows` is divided by.
    divisor: f32,
    /// Whole numbers, [kh][kw].
    pub rows: &'static [&'static [i8]],
}

/// Every named kernel.
pub const NAMED: &[Named] = &[
    named(
        "identity",
        "the picture itself",
        1.0,
        &[&[0, 0, 0], &[0, 1, 0], &[0, 0, 0]],
    ),
    named(
        "blur",
        "mean of 3 x 3 pixels",
        9.0,
        &[&[1, 1, 1], &[1, 1, 1], &[1, 1, 1]],
    ),
    named(
        "gaussian",
        "soft blur over 5 x 5 pixels",
        273.0,
        &[
            &[1, 4, 7, 4, 1],
            &[4, 16, 26, 16, 4],
            &[7, 26, 41, 26, 7],
            &[4, 16, 26, 16, 4],
            &[1, 4, 7, 4, 1],
        ],
    ),
    named(
        "sharpen",
        "stronger detail",
        1.0,
        &[&[0, -1, 0], &[-1, 5, -1], &[0, -1, 0]],
    ),
    named(
        "outline",
        "pixel against its 8 neighbours",
        1.0,
        &[&[-1, -1, -1], &[-1, 8, -1], &[-1, -1, -1]],
    ),
    named(
        "edge",
        "pixel against its 4 neighbours",
        1.0,
        &[&[0, -1, 0], &[-1, 4, -1], &[0, -1, 0]],
    ),
    named(
        "sobel-x",
        "slope to the right (vertical edges)",
        1.0,
        &[&[-1, 0, 1], &[-2, 0, 2], &[-1, 0, 1]],
    ),
    named(
        "sobel-y",
        "slope downwards (horizontal edges)",
        1.0,
        &[&[-1, -2, -1], &[0, 0, 0], &[1, 2, 1]],
    ),
    named(
        "prewitt",
        "slope to the right, unweighted",
        1.0,
        &[&[-1, 0, 1], &[-1, 0, 1], &[-1, 0, 1]],
    ),
    named(
        "prewitt-y",
        "slope downwards, unweighted",
        1.0,
        &[&[-1, -1, -1], &[0, 0, 0], &[1, 1, 1]],
    ),
    named(
        "laplacian",
        "second derivative",
        1.0,
        &[&[0, 1, 0], &[1, -4, 1], &[0, 1, 0]],
    ),
    named(
        "emboss",
        "lit from the upper left",
        1.0,
        &[&[-2, -1, 0], &[-1, 1, 1], &[0, 1, 2]],
    ),
    named(
        "shift-left",
        "the picture one pixel to the left",
        1.0,
        &[&[0, 0, 0], &[0, 0, 1], &[0, 0, 0]],
    ),
    named(
        "shift-right",
        "the picture one pixel to the right",
        1.0,
        &[&[0, 0, 0], &[1, 0, 0], &[0, 0, 0]],
    ),
    named(
        "shift-up",
        "the picture one pixel up",
        1.0,
        &[&[0, 0, 0], &[0, 0, 0], &[0, 1, 0]],
    ),
    named(
        "shift-down",
        "the picture one pixel down",
        1.0,
        &[&[0, 1, 0], &[0, 0, 0], &[0, 0, 0]],
    ),
];

const fn named(
    name: &'static str,
    about: &'static str,
    divisor: f32,
    rows: &'static [&'static [i8]],
) -> Named {
    Named {
        name,
        about,
        divisor,
        rows,
    }
}

impl Named {
    /// The weights, `[kh, kw]`.
    pub fn weights(&self) -> Array2<f32> {
        Array2::from_shape_fn((self.rows.len(), self.rows[0].len()), |(row, column)| {
            f32::from(self.rows[row][column]) / self.divisor
        })
    }
}

/// The named kernels as text, each with its matrix.
pub fn list() -> String {
    let mut text = String::new();
    for kernel in NAMED {
        let divisor = match kernel.divisor {
            1.0 => String::new(),
            divisor => format!(", divided by {divisor}"),
        };
        text += &format!("{:<12}{}{divisor}\n", kernel.name, kernel.about);
        for row in kernel.rows {
            text += "    ";
            row.iter()
                .for_each(|weight| text += &format!("{weight:>4}"));
            text += "\n";
        }
    }
    text
}
