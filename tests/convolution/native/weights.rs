//! Prepared weights: shared by plans that want the same form, refused by those that want another.

use gemmconv::kernel::Isa;
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Epilogue, Error, Layout, Pass, PlanOptions, RecipeKind,
    Wanted,
};
use ndarray::ArrayD;

use super::layer::{Layer, Shape, Way, assert_same};
use crate::support::LAYOUTS;

const SHAPES: [Shape; 5] = [
    Shape::dense(9, 19, [6, 7]),
    Shape::dense(17, 8, [6, 7]).stride(2),
    Shape::dense(6, 20, [6, 7]).kernel([1, 1], 0),
    Shape::grouped(16, 1, 1, [6, 7]),
    Shape::grouped(3, 4, 5, [6, 7]).stride(2),
];

/// One preparation serves other batches and image sizes.
#[test]
fn other_batches_and_image_sizes() {
    let mut checks = 0;
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let first = Layer::new(shape.geometry(layout), 10);
        for way in Way::all(&first.geometry)
            .into_iter()
            .filter(|way| way.recipe.is_some())
        {
            let weights = way.plan(&first.geometry).prepare(&first.weight()).unwrap();
            assert_eq!(weights.shape(), first.geometry.weight_shape());
            for (batch, image) in [(1, [6, 7]), (5, [3, 3]), (2, [29, 15]), (0, [6, 7])] {
                let other = Shape {
                    batch,
                    image,
                    ..*shape
                };
                let other = Layer {
                    w: first.w.clone(),
                    ..Layer::new(other.geometry(layout), 11)
                };
                let (plan, expected) = (way.plan(&other.geometry), other.answers());
                let array = |shape: Vec<usize>, data: &[f32]| {
                    ArrayD::from_shape_vec(shape, data.to_vec()).unwrap()
                };
                let x = array(other.geometry.input_shape(), &other.x);
                let dy = array(other.geometry.output_shape(), &other.dy);
                let y = plan.forward(&x, &weights, &Epilogue::none()).unwrap();
                let dx = plan.backward_input(&weights, &dy).unwrap();
                let name = format!(
                    "{way}, {shape:?} for {batch} × {image:?}, {}",
                    layout.name()
                );
                assert_same(y.as_slice().unwrap(), &expected.y, || format!("y: {name}"));
                assert_same(dx.as_slice().unwrap(), &expected.dx, || {
                    format!("dx: {name}")
                });
                checks += 1;
            }
        }
    }
    assert!(checks >= 5 * 2 * 3 * 4, "{checks} checks");
}

/// Weights prepared for one pass serve that pass; the other gives an error that names both forms.
#[test]
fn one_pass_alone() {
    let mut refusals = 0;
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let layer = Layer::new(shape.geometry(layout), 12);
        let expected = layer.answers();
        let geometry = &layer.geometry;
        let array =
            |shape: Vec<usize>, data: &[f32]| ArrayD::from_shape_vec(shape, data.to_vec()).unwrap();
        let x = array(geometry.input_shape(), &layer.x);
        let dy = array(geometry.output_shape(), &layer.dy);
        for way in Way::native(geometry)
            .into_iter()
            .filter(|way| way.recipe.is_some())
        {
            let plan = way.plan(geometry);
            let name = format!("{way}, {shape:?}, {}", layout.name());
            for pass in [Pass::Forward, Pass::BackwardInput] {
                let mut weights = plan
                    .prepare_for(pass, &ArrayD::zeros(geometry.weight_shape()))
                    .unwrap();
                plan.update(&mut weights, &layer.weight()).unwrap();
                let y = plan.forward(&x, &weights, &Epilogue::none());
                let dx = plan.backward_input(&weights, &dy);
                let (served, other) = match pass {
                    Pass::Forward => ((y, &expected.y), dx),
                    _ => ((dx, &expected.dx), y),
                };
                let (result, expected) = served;
                assert_same(result.unwrap().as_slice().unwrap(), expected, || {
                    name.clone()
                });
                // A dense kernel of one tap and as many channels in as out may have one form for both.
                let refusal = other.map(drop);
                assert!(
                    matches!(refusal, Err(Error::PreparedWeights { expected, got }) if expected != got),
                    "{name}, prepared for {pass}: {refusal:?}"
                );
                let text = refusal.unwrap_err().to_string();
                let form = if way.is_exact() { "panels" } else { "Winograd" };
                assert!(text.contains(form), "{name}: {text}");
                refusals += 1;
            }
        }
    }
    assert!(refusals >= 5 * 2 * 2, "{refusals} refusals");
}

/// Backward weight reads no weights: prepared for it they hold no form that another pass could take.
#[test]
fn backward_weight_needs_none() {
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let layer = Layer::new(shape.geometry(layout), 13);
        let (geometry, weight) = (&layer.geometry, layer.weight());
        let array =
            |shape: Vec<usize>, data: &[f32]| ArrayD::from_shape_vec(shape, data.to_vec()).unwrap();
        let x = array(geometry.input_shape(), &layer.x);
        let dy = array(geometry.output_shape(), &layer.dy);
        for way in Way::all(geometry) {
            let plan = way.plan(geometry);
            let mut weights = plan.prepare_for(Pass::BackwardWeight, &weight).unwrap();
            assert_eq!(weights.shape(), weight.shape());
            plan.update(&mut weights, &weight).unwrap();
            for refusal in [
                plan.forward(&x, &weights, &Epilogue::none()).map(drop),
                plan.backward_input(&weights, &dy).map(drop),
            ] {
                let nothing = matches!(refusal, Err(Error::PreparedWeights { got: "nothing", .. }));
                assert!(nothing, "{way}: {refusal:?}");
            }
            let wanted = Wanted {
                input: false,
                ..Wanted::ALL
            };
            let gradients = plan.backward(&x, &weights, &dy, wanted).unwrap();
            let dw = gradients.d_weight.unwrap();
            assert_same(dw.as_slice().unwrap(), &layer.answers().dw, || {
                way.to_string()
            });
        }
        let wrong = ArrayD::zeros(vec![1; geometry.weight_shape().len()]);
        let plan = ConvPlan::<f32>::new(geometry, &PlanOptions::new()).unwrap();
        assert!(plan.prepare_for(Pass::BackwardWeight, &wrong).is_err());
    }
}

/// Everything that the shape of the weights does not tell: a plan with another of these refuses the weights, for the
/// passes and for `update`, and keeps its own.
#[test]
fn plans_that_differ() {
    let shape = [8, 4, 3, 3];
    let plan = |channels: usize, options: ConvOptions, plan: PlanOptions| {
        let input = options.layout.shape(1, channels, &[6, 6]);
        let geometry = ConvGeometry::new(&input, &shape, &options.padding(1)).unwrap();
        ConvPlan::<f32>::new(&geometry, &plan).unwrap()
    };
    let direct = || PlanOptions::new().recipe(RecipeKind::Direct);
    let first = plan(4, ConvOptions::new(), direct());
    let mut others = vec![
        ("groups", plan(8, ConvOptions::new().groups(2), direct())),
        (
            "layout",
            plan(4, ConvOptions::new().layout(Layout::ChannelsLast), direct()),
        ),
        (
            "flip",
            plan(4, ConvOptions::new().flip_kernel(true), direct()),
        ),
        (
            "recipe",
            plan(4, ConvOptions::new(), direct().recipe(RecipeKind::Unfold)),
        ),
        (
            "grouped",
            plan(
                8,
                ConvOptions::new().groups(2),
                direct().recipe(RecipeKind::Grouped),
            ),
        ),
    ];
    for isa in Isa::available() {
        if Isa::selected() != isa {
            others.push((
                "instruction set",
                plan(4, ConvOptions::new(), direct().isa(isa)),
            ));
        }
    }
    let ones = ArrayD::<f32>::ones(shape.as_slice());
    for (name, other) in &others {
        for (plan, stranger) in [(&first, other), (other, &first)] {
            let mut weights = stranger.prepare(&ones).unwrap();
            let x = ArrayD::ones(plan.geometry().input_shape());
            let dy = ArrayD::ones(plan.geometry().output_shape());
            for refusal in [
                plan.forward(&x, &weights, &Epilogue::none()).map(drop),
                plan.backward_input(&weights, &dy).map(drop),
                plan.update(&mut weights, &ones),
            ] {
                assert!(
                    matches!(refusal, Err(Error::PreparedWeights { expected, got }) if expected != got),
                    "{name}: {refusal:?}"
                );
            }
            // They still are what they were.
            let x = ArrayD::ones(stranger.geometry().input_shape());
            assert!(
                stranger.forward(&x, &weights, &Epilogue::none()).is_ok(),
                "{name}"
            );
        }
    }
    // Another stride has other phases backward, and the same form forward.
    let strided = plan(4, ConvOptions::new().stride(2), direct());
    let weights = first.prepare(&ones).unwrap();
    let x = ArrayD::ones(strided.geometry().input_shape());
    assert!(strided.forward(&x, &weights, &Epilogue::none()).is_ok());
    let dy = ArrayD::ones(strided.geometry().output_shape());
    let refusal = strided.backward_input(&weights, &dy).map(drop);
    assert!(
        matches!(refusal, Err(Error::PreparedWeights { .. })),
        "{refusal:?}"
    );
}
