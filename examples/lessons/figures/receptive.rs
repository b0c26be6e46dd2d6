//! Chapter 12: what an output sees, by counting and by its gradient.

use anyhow::Result;
use gemmconv::{Axis, ConvOptions, ReceptiveField};
use ndarray::Array2;
use plotters::style::Color;

use super::Figure;
use super::compute::gradients;
use super::draw::{BLUE, FAINT, Grid, INK, RED, Sheet, bold, svg};

/// Three layers of three taps, without and with a stride.
pub fn stack() -> Result<Figure> {
    let mut stacks = Vec::new();
    for strides in [[1, 1, 1], [1, 2, 1]] {
        let mut fields = vec![ReceptiveField::PIXEL];
        for stride in strides {
            let layer = Axis::new(0, 64, 3, stride, 1, (0, 0))?;
            fields.extend(fields[fields.len() - 1].after(&layer));
        }
        stacks.push((strides, fields));
    }
    let picture = svg(800, 340, |sheet| {
        for (index, (strides, fields)) in stacks.iter().enumerate() {
            pyramid(sheet, 400 * index as i32 + 30, *strides, fields);
        }
    })?;
    Ok(Figure::Svg(picture))
}

/// One output at the top, and what it sees of each layer below.
fn pyramid(sheet: &Sheet, left: i32, strides: [usize; 3], fields: &[ReceptiveField]) {
    let title = format!(
        "3 taps, strides {}, {}, {}",
        strides[0], strides[1], strides[2]
    );
    // How many elements of each layer are seen, from the input up.
    let mut seen = vec![1];
    for &stride in strides.iter().rev() {
        seen.push((seen[seen.len() - 1] - 1) * stride + 3);
    }
    seen.reverse();
    let jump = |layer: usize| fields[layer].jump as i32;
    // The first element of a layer lies in the middle of what it sees.
    let first = |layer: usize| 13 * (fields[layer].size as i32 - 1);
    let at = |layer: usize, index: usize| {
        let x = left + 90 + first(layer) + 26 * index as i32 * jump(layer);
        (x, 275 - 72 * layer as i32)
    };
    for layer in 1..4 {
        for index in 0..seen[layer] {
            for tap in 0..3 {
                let from = at(layer - 1, index * strides[layer - 1] + tap);
                sheet.path(&[from, at(layer, index)], BLUE.mix(0.5), 1);
            }
        }
    }
    for (layer, &count) in seen.iter().enumerate() {
        let colour = if layer == 0 { RED } else { INK };
        (0..count).for_each(|index| sheet.dot(at(layer, index), 7, colour));
        let name = match layer {
            0 => "input".to_owned(),
            layer => format!("layer {layer}"),
        };
        sheet.text_right(&name, (left, at(layer, 0).1), 13, FAINT);
    }
    let note = format!("one output sees {} inputs", fields[3].size);
    let middle = at(3, 0).0;
    sheet.text(&title, (middle, 24), 16, bold(INK));
    sheet.text(&note, (middle, 318), 15, RED);
}

/// The gradient of one output by the input, through three layers of ones.
pub fn measured() -> Result<Figure> {
    let (w, options) = (Array2::ones((3, 3)), ConvOptions::new().padding(1));
    let mut gradient = Array2::zeros((13, 13));
    gradient[[6, 6]] = 1.0;
    let x = Array2::zeros((13, 13));
    let mut stages = Vec::new();
    for _ in 0..3 {
        gradient = gradients(&x, &w, &gradient, &options)?.1;
        stages.push(gradient.clone());
    }
    let picture = svg(800, 340, |sheet| {
        for (index, gradient) in stages.iter().enumerate() {
            let size = 2 * index + 3;
            let grid = Grid::new((22 + 260 * index as i32, 50), 18, 13, 13);
            let most = gradient[[6, 6]];
            sheet.cells(&grid, |r, c| {
                (gradient[[r, c]] > 0.0).then(|| BLUE.mix(0.12 + 0.8 * gradient[[r, c]] / most))
            });
            sheet.window(&grid, (6 - size / 2, 6 - size / 2), (size, size), RED);
            let title =
                format!("{} layers: {size} × {size}", index + 1).replace("1 layers", "1 layer");
            sheet.text(&title, (grid.middle().0, 26), 16, bold(INK));
            let note = format!("in {} ways to the middle", super::draw::number(most));
            sheet.text(&note, (grid.middle().0, 308), 14, FAINT);
        }
    })?;
    Ok(Figure::Svg(picture))
}
