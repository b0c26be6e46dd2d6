//! The page: one file of HTML with its style, its programs and the settings it starts with.
//!
//! ```text
//! page.html   style     page.css                 page      the picture
//!             data      what it starts with      light     what lights up, and the player
//!             numbers   convolution.js           controls  the sizes
//! ```
//!
//! The page computes for itself, since its sizes can be changed; the tests compare what it shows with the library.

use anyhow::Result;
use serde_json::{Value, json};

use super::model::{Count, Limits, Settings};
use super::values::Given;
use crate::{ConvGeometry, Error, Padding};

const HTML: &str = include_str!("page/page.html");

/// What is put into the page, in this order; what stands in the data is not looked at again.
const PARTS: [(&str, &str); 5] = [
    ("{{style}}", include_str!("page/page.css")),
    ("{{convolution}}", include_str!("page/convolution.js")),
    ("{{page}}", include_str!("page/page.js")),
    ("{{light}}", include_str!("page/light.js")),
    ("{{controls}}", include_str!("page/controls.js")),
];

/// The page for these settings.
///
/// # Errors
/// Settings that make no convolution, or one above the limits of a page.
pub(super) fn html(settings: &Settings) -> Result<String> {
    let geometry = settings.geometry(Limits::PAGE)?;
    let data = json!({
        "settings": start(settings, &geometry),
        "given": given(settings),
        "errors": errors(),
        "limits": limits(),
    });
    // No `<` can end the element that holds the data, or begin another.
    let data = data.to_string().replace('<', "\\u003c");
    let page = PARTS.iter().fold(HTML.to_owned(), |page, (name, text)| {
        page.replacen(name, text, 1)
    });
    Ok(page.replacen("{{data}}", &data, 1))
}

/// What the controls say first.
fn start(settings: &Settings, geometry: &ConvGeometry) -> Value {
    let axes = geometry.axes();
    let pair = |value: fn(&crate::Axis) -> usize| [value(&axes[0]), value(&axes[1])];
    let same = settings.padding == Padding::SameUpper;
    json!({
        "input": pair(crate::Axis::input),
        "kernel": pair(crate::Axis::kernel),
        "stride": pair(crate::Axis::stride),
        "dilation": pair(crate::Axis::dilation),
        "padding": if same { [0, 0] } else { pair(|axis| axis.pad().0) },
        "same": same,
        "channels": geometry.input_channels(),
        "outputs": geometry.output_channels(),
        "groups": geometry.groups(),
    })
}

fn given(settings: &Settings) -> Value {
    let x = match &settings.input {
        Given::Planes(x) => json!({"shape": x.shape(), "values": x.iter().collect::<Vec<_>>()}),
        _ => Value::Null,
    };
    let w = match &settings.kernel {
        Given::Kernels(w) => json!({"shape": w.shape(), "values": w.iter().collect::<Vec<_>>()}),
        _ => Value::Null,
    };
    json!({"x": x, "w": w})
}

fn limits() -> Value {
    let limit = |count: &Count| json!({"name": count.name, "what": count.what, "unit": count.unit, "limit": count.limit});
    Limits::PAGE.counts().iter().map(limit).collect()
}

/// The library's errors with names in braces where their numbers stand.
fn errors() -> Value {
    // Numbers that stand for others; none is part of another.
    const NUMBERS: [usize; 3] = [70_001, 80_002, 90_003];
    let [first, second, third] = NUMBERS;
    let template = |error: Error, names: [&str; 3]| {
        let told = error.to_string();
        let names = NUMBERS.iter().zip(names);
        names.fold(told, |told, (number, name)| {
            told.replace(&number.to_string(), &format!("{{{name}}}"))
        })
    };
    json!({
        "zero": template(Error::Zero { what: "{what}", axis: first }, ["axis", "", ""]),
        "zero_count": template(Error::ZeroCount { what: "{what}" }, ["", "", ""]),
        "kernel_too_large": template(
            Error::KernelTooLarge { axis: first, extent: second, padded: third },
            ["axis", "extent", "padded"],
        ),
        "groups": template(
            Error::Groups { what: "{what}", channels: first, groups: second },
            ["channels", "groups", ""],
        ),
        "limit": Count::refusal("{what}", "{count}", "{unit}", "{limit}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_templates() {
        let errors = errors();
        assert_eq!(
            errors["kernel_too_large"],
            "kernel extent {extent} exceeds padded input {padded} on axis {axis}"
        );
        assert_eq!(
            errors["groups"],
            "{groups} groups do not divide {channels} {what}"
        );
        assert_eq!(errors["zero"], "{what} is zero on axis {axis}");
        assert_eq!(errors["zero_count"], "the number of {what} is zero");
    }

    #[test]
    fn every_part_has_its_place() {
        for (name, text) in PARTS {
            assert_eq!(HTML.matches(name).count(), 1, "{name}");
            assert!(!text.contains("</script") && !text.contains("{{"), "{name}");
        }
        assert_eq!(HTML.matches("{{data}}").count(), 1);
    }
}
