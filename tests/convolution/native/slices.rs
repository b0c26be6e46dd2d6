//! Buffers that lie anywhere: slices at odd places of larger ones, with nothing touched beside them.

use gemmconv::{ConvPlan, Epilogue, Layout, Pass};
use ndarray::{ArrayView, IxDyn};

use super::layer::{Layer, Shape, Way, assert_same};
use crate::support::{LAYOUTS, pool};

/// What stands around every slice that is written to: a number that no sum of these operands is.
const CANARY: f32 = -98_765.5;

/// A slice of `len` numbers, `before` behind the start of an allocation.
struct Inside {
    all: Vec<f32>,
    before: usize,
    len: usize,
    around: f32,
}

impl Inside {
    /// NaN inside, canaries around.
    fn poisoned(len: usize, before: usize) -> Self {
        let mut all = vec![CANARY; before + len + 37];
        all[before..before + len].fill(f32::NAN);
        Self {
            all,
            before,
            len,
            around: CANARY,
        }
    }

    /// `data`, with NaN around it: whatever is read beyond it shows.
    fn holding(data: &[f32], before: usize) -> Self {
        let mut all = vec![f32::NAN; before + data.len() + 37];
        all[before..before + data.len()].copy_from_slice(data);
        Self {
            all,
            before,
            len: data.len(),
            around: f32::NAN,
        }
    }

    fn get(&self) -> &[f32] {
        &self.all[self.before..self.before + self.len]
    }

    fn get_mut(&mut self) -> &mut [f32] {
        &mut self.all[self.before..self.before + self.len]
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let bits = self.around.to_bits();
        let beside = self.all.iter().enumerate();
        let beside = beside.filter(|(i, _)| !(self.before..self.before + self.len).contains(i));
        for (i, value) in beside {
            let place = i as isize - self.before as isize;
            assert_eq!(
                value.to_bits(),
                bits,
                "{what}: element {place} of {} is {value}",
                self.len
            );
        }
    }
}

/// Every buffer at another offset, none of them a multiple of a vector.
fn check(
    layer: &Layer,
    way: &Way,
    shift: usize,
    scratch_of: impl Fn(&ConvPlan<f32>, Pass) -> usize,
) {
    let name = format!("{way}, shift {shift}, {:?}", layer.geometry);
    let expected = layer.answers();
    let plan = way.plan(&layer.geometry);
    let at = |n: usize| 1 + (shift + 3 * n) % 15;
    let w = Inside::holding(&layer.w, at(0));
    let weight = ArrayView::from_shape(IxDyn(&layer.geometry.weight_shape()), w.get()).unwrap();
    let weights = plan.prepare(&weight).unwrap();
    let (x, dy) = (
        Inside::holding(&layer.x, at(1)),
        Inside::holding(&layer.dy, at(2)),
    );
    let bias = Inside::holding(&layer.bias, at(3));
    let residual = Inside::holding(&layer.dy, at(4));
    let mut y = Inside::poisoned(layer.dy.len(), at(5));
    let mut dx = Inside::poisoned(layer.x.len(), at(6));
    let mut dw = Inside::poisoned(layer.w.len(), at(7));
    let mut db = Inside::poisoned(layer.bias.len(), at(8));
    let mut scratch =
        Pass::ALL.map(|pass| Inside::poisoned(scratch_of(&plan, pass), at(pass as usize)));
    let epilogue = Epilogue::none().residual(residual.get());
    plan.forward_with_scratch(
        x.get(),
        &weights,
        &epilogue,
        y.get_mut(),
        scratch[0].get_mut(),
    )
    .unwrap();
    let sums: Vec<f32> = expected
        .y
        .iter()
        .zip(&layer.dy)
        .map(|(y, r)| y + r)
        .collect();
    assert_same(y.get(), &sums, || format!("y with a residual: {name}"));
    let epilogue = Epilogue::none().bias(bias.get());
    y.get_mut().fill(f32::NAN);
    plan.forward_with_scratch(
        x.get(),
        &weights,
        &epilogue,
        y.get_mut(),
        scratch[0].get_mut(),
    )
    .unwrap();
    let channels = layer.bias.len();
    let positions = layer.geometry.positions();
    let sums = expected.y.iter().enumerate().map(|(i, y)| {
        let channel = match layer.geometry.layout() {
            Layout::ChannelsFirst => i / positions % channels,
            Layout::ChannelsLast => i % channels,
        };
        y + layer.bias[channel]
    });
    assert_same(y.get(), &sums.collect::<Vec<_>>(), || format!("y: {name}"));
    plan.backward_input_with_scratch(dy.get(), &weights, dx.get_mut(), scratch[1].get_mut())
        .unwrap();
    assert_same(dx.get(), &expected.dx, || format!("dx: {name}"));
    let (to, bias_to) = (dw.get_mut(), Some(db.get_mut()));
    plan.backward_weight_with_scratch(x.get(), dy.get(), to, bias_to, scratch[2].get_mut())
        .unwrap();
    assert_same(dw.get(), &expected.dw, || format!("dw: {name}"));
    assert_same(db.get(), &expected.db, || format!("db: {name}"));
    for (what, buffer) in [
        ("y", &y),
        ("dx", &dx),
        ("dw", &dw),
        ("db", &db),
        ("x", &x),
        ("dy", &dy),
        ("w", &w),
    ] {
        buffer.assert_untouched(&format!("{what}: {name}"));
    }
    for (pass, buffer) in Pass::ALL.iter().zip(&scratch) {
        buffer.assert_untouched(&format!("scratch of {pass}: {name}"));
    }
}

const SHAPES: [Shape; 13] = [
    Shape::dense(5, 18, [5, 9]),
    Shape::dense(17, 33, [3, 14]),
    Shape::dense(16, 16, [7, 7]).stride(2),
    Shape::dense(9, 20, [4, 8]).kernel([1, 1], 0),
    Shape::dense(33, 15, [5, 7]).kernel([1, 1], 0).stride(2),
    // Panels of x that the gradient of the weights reads where they lie, with vectors and units of 512 bits: in one block,
    // in several, in groups.
    Shape::dense(64, 33, [5, 7]).kernel([1, 1], 0),
    Shape::dense(128, 20, [24, 31]).kernel([1, 1], 0),
    Shape::grouped(2, 64, 9, [5, 7]).kernel([1, 1], 0),
    Shape::grouped(16, 1, 1, [6, 9]),
    Shape::grouped(35, 1, 1, [5, 8]).stride(2),
    Shape::grouped(6, 4, 4, [4, 9]),
    Shape::grouped(4, 4, 4, [5, 8]).stride(2),
    Shape::grouped(3, 9, 17, [3, 6]).kernel([1, 1], 0),
];

#[test]
fn slices_at_odd_places_of_larger_buffers() {
    let mut checks = 0;
    for (index, shape) in SHAPES.iter().enumerate() {
        for layout in LAYOUTS {
            let layer = Layer::new(shape.geometry(layout), 7);
            for way in Way::all(&layer.geometry) {
                for shift in [index % 15, index * 7 % 15 + 1] {
                    // On one thread with the least scratch there is, on two with what they ask for.
                    pool(1).install(|| check(&layer, &way, shift, ConvPlan::min_scratch_len));
                    pool(2).install(|| check(&layer, &way, shift + 1, ConvPlan::scratch_len));
                    checks += 2;
                }
            }
        }
    }
    assert!(checks >= SHAPES.len() * 2 * 4 * 4, "{checks} checks");
}
