//! Pad into the convolution after it, where that can have such padding.

use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::geometry::{Padding, PaddingMode, PerAxis};
use crate::network::draft::{Draft, Node};
use crate::network::operator::{Conv, Pad, PadMode};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let mut index = 0;
    while index < draft.nodes.len() {
        match found(draft, index)? {
            Some((pad, conv)) => {
                let (from, name) = (draft.nodes[pad].inputs[0], draft.nodes[pad].name.clone());
                draft.nodes[index].operator = Arc::new(conv);
                draft.nodes[index].inputs[0] = from;
                draft.note("pad", format!("{name} into {}", draft.nodes[index].name));
                draft.nodes.remove(pad);
            }
            None => index += 1,
        }
    }
    Ok(())
}

/// The Pad that node `index` alone reads, and the convolution with that padding.
fn found(draft: &Draft, index: usize) -> Result<Option<(usize, Conv)>> {
    let node = &draft.nodes[index];
    let (Some(conv), Some(value)) = (operator::<Conv>(node), node.inputs[0]) else {
        return Ok(None);
    };
    let uses = Uses::new(draft);
    let Some(pad) = uses.maker(value).filter(|_| uses.only(value, index)) else {
        return Ok(None);
    };
    let Some((mode, pads)) = padding(draft, &draft.nodes[pad])? else {
        return Ok(None);
    };
    let Some(padding) = joined(conv, mode, &pads) else {
        return Ok(None);
    };
    let mut conv = conv.clone();
    conv.options.padding = Padding::Explicit(PerAxis::list(&padding));
    conv.options.padding_mode = mode;
    // Modes that read the image have limits; the sizes must be those of before.
    let mut inputs = draft.facts(&node.inputs)?;
    inputs[0] = match draft.nodes[pad].inputs[0] {
        Some(from) => Some(draft.fact(from)?),
        None => None,
    };
    let fits = crate::network::operator::Operator::infer(&conv, &inputs).is_ok_and(|made| {
        made[0].shape
            == draft.values[node.outputs[0]]
                .fact
                .as_ref()
                .map_or(vec![], |fact| fact.shape.clone())
    });
    Ok(fits.then_some((pad, conv)))
}

/// Numbers of pixels before and after, an axis each.
type Pads = Vec<(usize, usize)>;

/// The content and the spatial pads of a Pad that takes nothing away and leaves images and channels alone.
fn padding(draft: &Draft, node: &Node) -> Result<Option<(PaddingMode, Pads)>> {
    let Some(pad) = operator::<Pad>(node) else {
        return Ok(None);
    };
    let facts = draft.facts(&node.inputs)?;
    let pads = pad.pads(&facts)?;
    if pads.len() < 3 || pads[..2] != [(0, 0); 2] {
        return Ok(None);
    }
    let sizes = pads[2..].iter().map(|&(before, after)| {
        Some((usize::try_from(before).ok()?, usize::try_from(after).ok()?))
    });
    let Some(sizes) = sizes.collect() else {
        return Ok(None);
    };
    let mode = match pad.mode {
        PadMode::Reflect => PaddingMode::Reflect,
        PadMode::Edge => PaddingMode::Replicate,
        PadMode::Wrap => PaddingMode::Circular,
        PadMode::Constant => match facts.get(2).copied().flatten() {
            None => PaddingMode::Zeros,
            Some(fact) => match fact
                .value
                .as_deref()
                .and_then(|value| value.array::<f32>()?.first().copied())
            {
                Some(0.0) => PaddingMode::Zeros,
                Some(value) => PaddingMode::Constant(value.into()),
                None => return Ok(None),
            },
        },
    };
    Ok(Some((mode, sizes)))
}

/// Both paddings in one: zeros add up, others stand alone.
fn joined(conv: &Conv, mode: PaddingMode, pads: &[(usize, usize)]) -> Option<Pads> {
    let own = |axis: usize| match &conv.options.padding {
        Padding::Valid => Some((0, 0)),
        Padding::Explicit(pad) => pad.get("padding", pads.len(), axis).ok(),
        _ => None,
    };
    let own: Vec<(usize, usize)> = (0..pads.len()).map(own).collect::<Option<_>>()?;
    let zeros = conv.options.padding_mode == PaddingMode::Zeros;
    if own.iter().all(|&pad| pad == (0, 0)) {
        return Some(pads.to_vec());
    }
    if !zeros || mode != PaddingMode::Zeros {
        return None;
    }
    let sums = own.iter().zip(pads);
    sums.map(|(own, pad)| Some((own.0.checked_add(pad.0)?, own.1.checked_add(pad.1)?)))
        .collect()
}
