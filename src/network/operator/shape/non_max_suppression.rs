//! NonMaxSuppression: of boxes that overlap, the one with the highest score.
//!
//! ```text
//! boxes [N, S, 4]   scores [N, C, S]   ->   [found, 3]: image, class, box
//! for each image and class, the highest score first, of equals the lower box:
//!     taken unless its score is not above the threshold, it overlaps one that was taken by more than the limit,
//!     or as many were taken as there may be
//! overlap   intersection / union of the areas; 0 where one of them is empty
//! ```
//!
//! How many are found depends on the elements: all inputs must be constant. A score that is no number is never taken.

use std::sync::Arc;

use ndarray::Array1;

use super::super::check::{at_most, constant, has_type, integer, optional, read, required, wrong};
use super::super::{Fact, Facts, Operator, Step};
use super::make::{KNOWN, as_i64};
use crate::element::reserved;
use crate::error::Result;
use crate::network::tensor::{DType, Tensor};
use crate::plan::PlanOptions;

/// Most pairs of boxes that are compared, some minutes' work. A small file can ask for far more.
const MOST_PAIRS: u64 = 1 << 36;

/// The boxes of each class that overlap none with a higher score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NonMaxSuppression {
    pub(crate) centered: bool,
}

/// What is asked of boxes.
struct Limits {
    /// Most of each class.
    count: usize,
    overlap: f32,
    /// What scores must be above.
    score: Option<f32>,
}

/// A box: its lower and its higher end along both axes.
#[derive(Clone, Copy)]
struct Area {
    low: [f32; 2],
    high: [f32; 2],
}

impl Area {
    /// Of two corners, in any order.
    fn of_corners(ends: &[f32; 4]) -> Self {
        let [y1, x1, y2, x2] = *ends;
        Self {
            low: [y1.min(y2), x1.min(x2)],
            high: [y1.max(y2), x1.max(x2)],
        }
    }

    /// Of its centre, its width and its height.
    fn of_centre(ends: &[f32; 4]) -> Self {
        let [x, y, width, height] = *ends;
        let (width, height) = (width / 2.0, height / 2.0);
        Self {
            low: [y - height, x - width],
            high: [y + height, x + width],
        }
    }

    fn size(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether the two overlap by more than `limit`.
    fn overlaps(&self, other: &Self, limit: f32) -> bool {
        let common = Self {
            low: [0, 1].map(|axis| self.low[axis].max(other.low[axis])),
            high: [0, 1].map(|axis| self.high[axis].min(other.high[axis])),
        };
        if [0, 1]
            .iter()
            .any(|&axis| common.high[axis] <= common.low[axis])
        {
            return false;
        }
        let (own, others, common) = (self.size(), other.size(), common.size());
        let all = own + others - common;
        own > 0.0 && others > 0.0 && all > 0.0 && common / all > limit
    }
}

impl NonMaxSuppression {
    /// Inputs: boxes, scores, and up to three numbers: most boxes of a class (0 where it is left out), the overlap
    /// from which on a box is dropped, the score that boxes must be above. A box is its two corners, y before x, or,
    /// where they are `centered`, its centre, width and height.
    pub fn new(centered: bool) -> Self {
        Self { centered }
    }

    fn limits(inputs: &Facts) -> Result<Limits> {
        let number = |index: usize, name: &'static str| -> Result<Option<f32>> {
            let Some(fact) = optional(inputs, index) else {
                return Ok(None);
            };
            has_type(fact, name, &[DType::F32])?;
            let values: &[f32] = read(&[Some(constant(fact, name)?.view())], 0)?;
            match values {
                [value] => Ok(Some(*value)),
                _ => Err(wrong(
                    name,
                    "one element",
                    format!("{} elements", values.len()),
                )),
            }
        };
        let count = match optional(inputs, 2) {
            Some(fact) => integer(fact, "max_output_boxes_per_class")?,
            None => 0,
        };
        let overlap = number(3, "iou_threshold")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&overlap) {
            return Err(wrong("iou_threshold", "0 to 1", overlap.to_string()));
        }
        Ok(Limits {
            // Negative ones are none.
            count: usize::try_from(count).unwrap_or(0),
            overlap,
            score: number(4, "score_threshold")?,
        })
    }

    /// The boxes and the scores, and how many images, classes and boxes there are.
    fn given<'a>(inputs: &Facts<'a>) -> Result<(&'a [f32], &'a [f32], [usize; 3])> {
        at_most(inputs, 5)?;
        let (boxes, scores) = (
            required(inputs, 0, "boxes")?,
            required(inputs, 1, "scores")?,
        );
        has_type(boxes, "boxes", &[DType::F32])?;
        has_type(scores, "scores", &[DType::F32])?;
        let got = |fact: &Fact| format!("of shape {:?}", fact.shape);
        let [images, count, 4] = boxes.shape[..] else {
            return Err(wrong(
                "boxes",
                "lists of 4 numbers for each image",
                got(boxes),
            ));
        };
        let sizes = match scores.shape[..] {
            [own, classes, each] if (own, each) == (images, count) => [images, classes, count],
            _ => {
                let expected = format!("of {images} images, any classes and {count} boxes");
                return Err(wrong("scores", expected, got(scores)));
            }
        };
        let (boxes, scores) = (constant(boxes, "boxes")?, constant(scores, "scores")?);
        Ok((
            read(&[Some(boxes.view())], 0)?,
            read(&[Some(scores.view())], 0)?,
            sizes,
        ))
    }
}

/// The boxes of one class that are taken; adds to `pairs` those that are compared.
fn taken(areas: &[Area], scores: &[f32], limits: &Limits, pairs: &mut u64) -> Result<Vec<usize>> {
    let most = limits.count.min(areas.len());
    let mut taken = reserved::<usize>(most)?;
    if most == 0 {
        return Ok(taken);
    }
    let above = |score: f32| limits.score.map_or(!score.is_nan(), |limit| score > limit);
    let mut order = reserved::<usize>(scores.len())?;
    order.extend((0..scores.len()).filter(|&at| above(scores[at])));
    order.sort_by(|&a, &b| {
        scores[b]
            .partial_cmp(&scores[a])
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for at in order {
        if taken.len() == most {
            break;
        }
        *pairs = pairs.saturating_add(taken.len() as u64);
        if *pairs > MOST_PAIRS {
            let expected = format!("few enough to compare {MOST_PAIRS} pairs of them at most");
            return Err(wrong(
                "boxes",
                expected,
                format!("{} of an image", areas.len()),
            ));
        }
        let area = &areas[at];
        if !taken
            .iter()
            .any(|&other| areas[other].overlaps(area, limits.overlap))
        {
            taken.push(at);
        }
    }
    Ok(taken)
}

impl Operator for NonMaxSuppression {
    fn name(&self) -> &'static str {
        "NonMaxSuppression"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let (boxes, scores, [images, classes, count]) = Self::given(inputs)?;
        let limits = Self::limits(inputs)?;
        let (mut table, mut pairs) = (Vec::new(), 0);
        let mut areas = reserved::<Area>(count)?;
        if count > 0 {
            for image in 0..images {
                let (ends, _) = boxes[image * count * 4..][..count * 4].as_chunks::<4>();
                areas.clear();
                areas.extend(ends.iter().map(match self.centered {
                    true => Area::of_centre,
                    false => Area::of_corners,
                }));
                for class in 0..classes {
                    let scores = &scores[(image * classes + class) * count..][..count];
                    for at in taken(&areas, scores, &limits, &mut pairs)? {
                        table.extend([as_i64(image)?, as_i64(class)?, as_i64(at)?]);
                    }
                }
            }
        }
        let found = table.len() / 3;
        let table = Tensor::from(Array1::from(table).into_dyn()).reshape(&[found, 3])?;
        Ok(vec![Fact::constant(Arc::new(table))])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Err(wrong("NonMaxSuppression", "folded", KNOWN))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0, 1, 2, 3, 4]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant as list, fact, floats, infer};
    use super::*;

    fn known(shape: &[usize], values: &[f32]) -> Fact {
        Fact::constant(Arc::new(floats(shape, values.iter().copied())))
    }

    /// What is found among boxes of one image.
    fn found(boxes: &[[f32; 4]], scores: &[&[f32]], limits: [f32; 2], most: i64) -> Vec<i64> {
        let boxes = known(&[1, boxes.len(), 4], &boxes.concat());
        let count = boxes.shape[1];
        let scores = known(&[1, scores.len(), count], &scores.concat());
        let [overlap, score] = limits.map(|limit| known(&[], &[limit]));
        let inputs = [&boxes, &scores, &list(&[most]), &overlap, &score];
        let made = infer(&NonMaxSuppression::new(false), &inputs).unwrap();
        let table = made[0].value.as_ref().unwrap();
        assert_eq!(table.shape(), [table.len() / 3, 3]);
        table.integers().unwrap()
    }

    #[test]
    fn the_highest_scores_are_taken() {
        let boxes = [
            [0.0, 0.0, 2.0, 2.0],
            [0.0, 0.0, 2.0, 1.9],
            // The same as the first, its corners the other way round.
            [2.0, 2.0, 0.0, 0.0],
            [5.0, 5.0, 6.0, 6.0],
            [0.0, 1.0, 2.0, 3.0],
        ];
        let scores = [0.8, 0.9, 0.7, 0.1, 0.6];
        // The last one has a third in common with the first, less with the second.
        assert_eq!(
            found(&boxes, &[&scores], [0.5, 0.0], 9),
            [0, 0, 1, 0, 0, 4, 0, 0, 3]
        );
        assert_eq!(found(&boxes, &[&scores], [0.2, 0.0], 9), [0, 0, 1, 0, 0, 3]);
        assert_eq!(found(&boxes, &[&scores], [0.5, 0.6], 9), [0, 0, 1]);
        assert_eq!(found(&boxes, &[&scores], [0.5, 0.0], 1), [0, 0, 1]);
        assert_eq!(
            found(&boxes, &[&scores], [1.0, 0.0], 3),
            [0, 0, 1, 0, 0, 0, 0, 0, 2]
        );
        assert!(found(&boxes, &[&scores], [0.5, 0.0], 0).is_empty());
        assert!(found(&boxes, &[&scores], [0.5, 0.0], -1).is_empty());
        let other = [0.5, 0.5, f32::NAN, 0.5, f32::NAN];
        let both = found(&boxes, &[&scores, &other], [0.5, 0.65], 9);
        assert_eq!(both, [0, 0, 1]);
        let both = found(&boxes, &[&other, &scores], [0.5, 0.2], 2);
        assert_eq!(both, [0, 0, 0, 0, 0, 3, 0, 1, 1, 0, 1, 4]);
        assert!(found(&[], &[&[]], [0.5, 0.0], 9).is_empty());
    }

    #[test]
    fn boxes_by_their_centre() {
        let boxes = known(
            &[2, 2, 4],
            &[
                1.0, 2.0, 2.0, 4.0, 1.0, 2.0, 2.0, 3.9, //
                1.0, 2.0, 2.0, 4.0, 2.0, 2.0, -2.0, 4.0,
            ],
        );
        let scores = known(&[2, 1, 2], &[0.1, 0.2, 0.3, 0.4]);
        let (most, overlap) = (list(&[5]), known(&[1], &[0.5]));
        let suppression = NonMaxSuppression::new(true);
        let made = infer(&suppression, &[&boxes, &scores, &most, &overlap]).unwrap();
        // A box of negative width overlaps nothing.
        let expected = [0, 0, 1, 1, 0, 1, 1, 0, 0];
        assert_eq!(
            made[0].value.as_ref().unwrap().integers().unwrap(),
            expected
        );
        let made = infer(&suppression, &[&boxes, &scores]).unwrap();
        assert_eq!(made[0].shape, [0, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (boxes, scores) = (known(&[1, 2, 4], &[0.0; 8]), known(&[1, 1, 2], &[0.0; 2]));
        let (most, half) = (list(&[5]), known(&[], &[0.5]));
        let suppression = NonMaxSuppression::new(false);
        assert!(infer(&suppression, &[&boxes, &scores, &most, &half, &half]).is_ok());
        for inputs in [
            &[&boxes][..],
            &[&scores, &boxes],
            &[&boxes, &known(&[1, 1, 3], &[0.0; 3])],
            &[&boxes, &known(&[1, 2], &[0.0; 2])],
            &[&fact(&[1, 2, 4]), &scores],
            &[&boxes, &fact(&[1, 1, 2])],
            &[&boxes, &scores, &half],
            &[&boxes, &scores, &most, &known(&[], &[1.5])],
            &[&boxes, &scores, &most, &known(&[], &[f32::NAN])],
            &[&boxes, &scores, &most, &known(&[2], &[0.5; 2])],
            &[&boxes, &scores, &most, &half, &half, &half],
        ] {
            assert!(infer(&suppression, inputs).is_err(), "{inputs:?}");
        }
    }

    /// What is compared counts over all classes and images.
    #[test]
    fn work_has_an_end() {
        let area = Area {
            low: [0.0; 2],
            high: [1.0; 2],
        };
        let limits = Limits {
            count: 9,
            overlap: 0.0,
            score: None,
        };
        let mut pairs = MOST_PAIRS - 1;
        let areas = [area; 4];
        assert_eq!(
            taken(&areas[..2], &[1.0; 2], &limits, &mut pairs).unwrap(),
            [0]
        );
        assert!(taken(&areas, &[1.0; 4], &limits, &mut pairs).is_err());
    }
}
