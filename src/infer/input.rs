//! Where pictures go into a network, and at what size of the batch.

use crate::error::{Error, Result};
use crate::geometry::Layout;
use crate::network::{DType, Dim, Graph, Network, NetworkOptions, Tensor};

/// The input of a graph that takes pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInput {
    /// Its name.
    pub name: String,
    /// The order of its axes.
    pub layout: Layout,
    /// The size of the batch, where the graph fixes it.
    pub batch: Option<usize>,
    /// The number of channels, where the graph fixes it.
    pub channels: Option<usize>,
    /// Height and width, where the graph fixes both.
    pub size: Option<(usize, usize)>,
}

fn wrong(what: String) -> Error {
    Error::Model { what }
}

impl ImageInput {
    /// That of `graph`: the one input that must be given, of four axes and f32.
    ///
    /// # Errors
    /// Several inputs, or none; one of another type, number of axes, or number of channels than 1 or 3.
    pub fn of(graph: &Graph, layout: Layout) -> Result<Self> {
        let mut needed = graph
            .inputs()
            .iter()
            .filter(|input| graph.constant_of(input.value).is_none());
        let (Some(input), None) = (needed.next(), needed.next()) else {
            let names = graph.inputs().iter().map(|input| graph.name(input.value));
            return Err(wrong(format!(
                "pictures go into a model of one input, this one has [{}]",
                names.collect::<Vec<_>>().join(", ")
            )));
        };
        let name = graph.name(input.value).to_owned();
        if input.dtype != DType::F32 {
            return Err(Error::InputType {
                input: name,
                expected: DType::F32.name(),
                got: input.dtype.name(),
            });
        }
        let mut found = Self {
            name,
            layout,
            batch: None,
            channels: None,
            size: None,
        };
        let Some(dims) = &input.dims else {
            return Ok(found);
        };
        let [batch, a, b, c] = dims.as_slice() else {
            return Err(wrong(format!(
                "input {:?} has {} axes, pictures have 4: batch, channels, height and width",
                found.name,
                dims.len()
            )));
        };
        let size = |dim: &Dim| match dim {
            Dim::Size(size) => Some(*size),
            Dim::Free(_) => None,
        };
        let (channels, height, width) = match layout {
            Layout::ChannelsFirst => (a, b, c),
            Layout::ChannelsLast => (c, a, b),
        };
        found.batch = size(batch);
        found.channels = size(channels);
        found.size = size(height).zip(size(width));
        match found.channels {
            None | Some(1 | 3) => Ok(found),
            Some(got) => {
                let axes = dims.iter().map(size).collect::<Option<Vec<_>>>();
                let other = match layout {
                    Layout::ChannelsFirst => Layout::ChannelsLast,
                    Layout::ChannelsLast => Layout::ChannelsFirst,
                };
                Err(Error::LayoutMismatch {
                    what: "the input for pictures",
                    shape: axes.unwrap_or_default(),
                    given: layout.name(),
                    other: other.name(),
                    expected: 3,
                    got,
                })
            }
        }
    }

    /// The shape of a batch of pictures of the shape `picture`.
    pub(super) fn shape(&self, batch: usize, picture: [usize; 3]) -> [usize; 4] {
        let [a, b, c] = picture;
        [batch, a, b, c]
    }
}

/// A network for batches, and their size.
#[derive(Debug)]
pub(super) struct Batched {
    pub network: Network,
    pub batch: usize,
    /// The type and shape of the output for one picture.
    pub item: Vec<usize>,
}

impl Batched {
    /// `graph` for batches of `wanted` pictures, or of as many as it can.
    ///
    /// Where the graph fixes a batch of one, it is tried with larger ones; they are taken if two pictures at once
    /// give what each gives by itself.
    ///
    /// # Errors
    /// Whatever the network finds wrong; an output without a batch.
    pub fn new(
        graph: Graph,
        options: &NetworkOptions,
        input: &ImageInput,
        picture: [usize; 3],
        wanted: usize,
    ) -> Result<Self> {
        let own = input.batch.unwrap_or(wanted);
        let free = (own == 1 && wanted > 1)
            .then(|| freed(graph.clone(), options, input, picture, wanted))
            .flatten();
        if let Some(batched) = free {
            return Ok(batched);
        }
        Self::fixed(
            Network::with_options(graph, options.clone())?,
            input,
            picture,
            own,
        )
    }

    fn fixed(
        network: Network,
        input: &ImageInput,
        picture: [usize; 3],
        batch: usize,
    ) -> Result<Self> {
        let zeros = Tensor::zeros(DType::F32, &input.shape(batch, picture))?;
        let session = network.session(&[(&input.name, &zeros)])?;
        let Some((dtype, shape)) = session.output_facts().next() else {
            return Err(wrong("the model has no output".to_owned()));
        };
        if dtype != DType::F32 {
            return Err(wrong(format!(
                "the output has elements of type {}, expected f32",
                dtype.name()
            )));
        }
        match shape.split_first() {
            Some((&first, item)) if first == batch => Ok(Self {
                item: item.to_vec(),
                network,
                batch,
            }),
            // Some models forget the batch of one on the way.
            _ if batch == 1 => Ok(Self {
                item: shape.to_vec(),
                network,
                batch,
            }),
            _ => Err(wrong(format!(
                "the output has shape {shape:?} for a batch of {batch}: its first axis must be the batch"
            ))),
        }
    }
}

/// The graph with any batch, where that gives the same.
fn freed(
    mut graph: Graph,
    options: &NetworkOptions,
    input: &ImageInput,
    picture: [usize; 3],
    wanted: usize,
) -> Option<Batched> {
    let single = Network::with_options(graph.clone(), options.clone()).ok()?;
    let dims = input.shape(1, picture).map(Dim::Size);
    let [_, a, b, c] = dims;
    let dims = vec![Dim::Free("batch".to_owned()), a, b, c];
    graph.set_dims(&input.name, Some(dims)).ok()?;
    let many = Network::with_options(graph, options.clone()).ok()?;
    let batched = Batched::fixed(many, input, picture, wanted).ok()?;
    agree(&single, &batched.network, input, picture)
        .ok()?
        .then_some(batched)
}

/// Whether two pictures of noise at once give what each gives by itself.
fn agree(
    single: &Network,
    many: &Network,
    input: &ImageInput,
    picture: [usize; 3],
) -> Result<bool> {
    // Sums of f32 in another order, and Winograd's algorithm for one but not the other.
    const TOLERANCE: f32 = 1e-3;
    let mut both = Tensor::zeros(DType::F32, &input.shape(2, picture))?;
    let mut each = [
        Tensor::zeros(DType::F32, &input.shape(1, picture))?,
        Tensor::zeros(DType::F32, &input.shape(1, picture))?,
    ];
    let mut state = 1u32;
    let [one, other] = &mut each;
    let (Tensor::F32(both_data), Tensor::F32(one_data), Tensor::F32(other_data)) =
        (&mut both, one, other)
    else {
        return Ok(false);
    };
    let half = one_data.len();
    for (index, value) in both_data.iter_mut().enumerate() {
        // xorshift; ±2 is what most networks are given.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *value = (state >> 8) as f32 / (1u32 << 22) as f32 - 2.0;
        let target = if index < half {
            one_data.as_slice_mut()
        } else {
            other_data.as_slice_mut()
        };
        if let Some(place) = target.and_then(|target| target.get_mut(index % half)) {
            *place = *value;
        }
    }
    let together = many.run(&[(&input.name, &both)])?;
    let mut apart = Vec::new();
    for picture in &each {
        let outputs = single.run(&[(&input.name, picture)])?;
        let Some(elements) = outputs
            .first()
            .and_then(|(_, tensor)| tensor.array::<f32>())
        else {
            return Ok(false);
        };
        apart.extend(elements.iter().copied());
    }
    let Some(together) = together
        .first()
        .and_then(|(_, tensor)| tensor.array::<f32>())
    else {
        return Ok(false);
    };
    let largest = apart
        .iter()
        .fold(0f32, |largest, value| largest.max(value.abs()));
    let close =
        |(one, other): (&f32, &f32)| one == other || (one - other).abs() <= TOLERANCE * largest;
    Ok(together.len() == apart.len() && together.iter().zip(&apart).all(close))
}
