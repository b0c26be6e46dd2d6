//! How many images go through a network together, where it computes each by itself.
//!
//! ```text
//! few:   what a layer makes for them is still in the cache when the next one reads it
//! many:  constants are read from memory once for all of them
//!
//! images = least divisor of the batch with   images · (what is made for one) ≥ CONSTANTS · constants, ENOUGH
//! ```
//!
//! Measured for networks of 5 to 550 MB of constants: 1 image is best for MobileNetV2 and SqueezeNet, 4 to 8 for
//! ResNet-50, a whole batch of 16 for VGG-16. It depends on sizes alone, so that results do not depend on threads.

use super::draft::{Draft, Node, bytes};
use super::operator::Fact;
use crate::error::Result;

/// What is made for the images of a part, in terms of the constants: before activations and sums join convolutions.
const CONSTANTS: usize = 4;

/// Bytes that are made for a part at least: otherwise its steps are too short to begin each of them again.
const ENOUGH: usize = 1 << 20;

/// The images of a part of the batch that `draft`, which is inferred, was planned for; `None` where that is all of
/// them, or where images depend on each other.
pub(super) fn images(draft: &Draft) -> Result<Option<usize>> {
    let Some(batch) = batch(draft)? else {
        return Ok(None);
    };
    let (mut constants, mut made) = (0usize, 0usize);
    for node in &draft.nodes {
        for fact in draft.facts(&node.inputs)?.into_iter().flatten() {
            if fact.value.is_some() {
                constants = constants.saturating_add(bytes(fact)?);
            }
        }
        for &value in &node.outputs {
            made = made.saturating_add(bytes(draft.fact(value)?)?);
        }
    }
    let wanted = constants.saturating_mul(CONSTANTS).max(ENOUGH);
    let enough = |images: usize| (made / batch).saturating_mul(images) >= wanted;
    let mut divisors = (1..batch).filter(|images| batch % images == 0);
    Ok(divisors.find(|&images| enough(images)))
}

/// The size of the batch, where every image is computed by itself.
fn batch(draft: &Draft) -> Result<Option<usize>> {
    let mut batched = vec![false; draft.values.len()];
    let mut batch = None;
    for &value in &draft.inputs {
        let fact = draft.fact(value)?;
        if fact.value.is_some() {
            continue;
        }
        match (fact.shape.first(), batch) {
            (Some(&images), None) => batch = Some(images),
            (Some(&images), Some(batch)) if images == batch => {}
            _ => return Ok(None),
        }
        batched[value] = true;
    }
    let Some(images) = batch.filter(|&images| images > 1) else {
        return Ok(None);
    };
    for node in &draft.nodes {
        if !is_by_image(draft, node, &batched)? {
            return Ok(None);
        }
        for &value in &node.outputs {
            if draft.fact(value)?.shape.first() != Some(&images) {
                return Ok(None);
            }
            batched[value] = true;
        }
    }
    let all = !draft.outputs.is_empty() && draft.outputs.iter().all(|&output| batched[output]);
    Ok(all.then_some(images))
}

fn is_by_image(draft: &Draft, node: &Node, batched: &[bool]) -> Result<bool> {
    let inputs = node.inputs.iter();
    let batched: Vec<bool> = inputs
        .map(|input| input.is_some_and(|value| batched[value]))
        .collect();
    let facts = draft.facts(&node.inputs)?;
    Ok(batched.contains(&true) && node.operator.by_image(&facts, &batched))
}

/// Whether `part` is `whole` for `images` of its images.
pub(super) fn is_part(whole: &Draft, part: &Draft, images: usize) -> bool {
    let value = |draft: &Draft, value: usize| draft.fact(value).ok().cloned();
    let cut = |whole: &Fact, part: &Fact| {
        whole.dtype == part.dtype
            && whole.shape.len() == part.shape.len()
            && part.shape.first() == Some(&images)
            && whole.shape[1..] == part.shape[1..]
    };
    let values = |draft: &Draft| -> Vec<usize> {
        let made = draft.nodes.iter().flat_map(|node| &node.outputs);
        made.chain(&draft.outputs).copied().collect()
    };
    values(whole) == values(part)
        && values(whole).into_iter().all(|index| {
            let pair = value(whole, index).zip(value(part, index));
            pair.is_some_and(|(whole, part)| cut(&whole, &part))
        })
}
