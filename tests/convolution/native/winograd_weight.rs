//! What Winograd's algorithm rounds in the gradient of the weights, beside the direct recipe, and how far a number that is
//! not finite reaches.

use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, Layout, Pass, PlanOptions, RecipeKind,
};

/// Most of the direct recipe's error, root of the mean square and largest.
const MOST: [f64; 2] = [2.5, 4.0];

fn numbers<T: Element>(random: &mut fastrand::Rng, length: usize) -> Vec<T> {
    // Numbers of f32, so that both types compute the same.
    let mut number = || T::from_f64(f64::from(random.f32() * 2.0 - 1.0));
    (0..length).map(|_| number()).collect()
}

fn converted(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// dw and db by a recipe.
fn gradients<T: Element>(
    geometry: &ConvGeometry,
    recipe: RecipeKind,
    [x, dy]: [&[T]; 2],
) -> [Vec<T>; 2] {
    let options = PlanOptions::new().recipe(recipe);
    let plan = ConvPlan::<T>::new(geometry, &options).unwrap();
    assert_eq!(plan.recipe_of(Pass::BackwardWeight).kind(), recipe);
    let mut dw = vec![T::NAN; geometry.weight_len()];
    let mut db = vec![T::NAN; geometry.output_channels()];
    let mut scratch = vec![T::NAN; plan.scratch_len(Pass::BackwardWeight)];
    plan.backward_weight_with_scratch(x, dy, &mut dw, Some(&mut db), &mut scratch)
        .unwrap();
    [dw, db]
}

/// Root of the mean square of the errors, and the largest.
fn errors(got: &[f32], exact: &[f64]) -> [f64; 2] {
    let each = || {
        got.iter()
            .zip(exact)
            .map(|(&got, exact)| (f64::from(got) - exact).abs())
    };
    let square: f64 = each().map(|error| error * error).sum();
    [
        (square / exact.len() as f64).sqrt(),
        each().fold(0.0, f64::max),
    ]
}

/// Layers of ResNet, of VGG, of DeepLab and of Inception: batch, channels, outputs, side, dilation, stride; kernel.
#[test]
fn rounding_stays_near_that_of_the_direct_recipe() {
    let mut random = fastrand::Rng::with_seed(4);
    for (index, ([batch, channels, outputs, side, dilation, stride], kernel)) in [
        ([1, 64, 64, 56, 1, 1], [3, 3]),
        ([4, 64, 64, 56, 1, 1], [3, 3]),
        ([1, 128, 128, 28, 1, 1], [3, 3]),
        ([1, 256, 256, 14, 1, 1], [3, 3]),
        ([16, 128, 128, 14, 1, 1], [3, 3]),
        ([1, 3, 64, 224, 1, 1], [3, 3]),
        ([1, 64, 64, 224, 1, 1], [3, 3]),
        ([1, 128, 128, 112, 1, 1], [3, 3]),
        ([2, 128, 96, 28, 2, 1], [3, 3]),
        ([1, 96, 64, 33, 6, 1], [3, 3]),
        ([1, 128, 128, 56, 1, 2], [3, 3]),
        ([4, 64, 96, 28, 1, 2], [3, 3]),
        ([2, 192, 192, 17, 1, 1], [1, 7]),
        ([16, 192, 64, 17, 1, 1], [7, 1]),
        ([16, 384, 64, 8, 1, 1], [1, 3]),
        ([2, 48, 64, 28, 1, 1], [5, 5]),
        ([4, 32, 96, 14, 1, 1], [5, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][index % 2];
        let options = ConvOptions::new()
            .padding(kernel.map(|taps| taps / 2 * dilation))
            .stride(stride)
            .dilation(dilation)
            .layout(layout);
        let input = layout.shape(batch, channels, &[side, side]);
        let shape = [outputs, channels, kernel[0], kernel[1]];
        let geometry = ConvGeometry::new(&input, &shape, &options).unwrap();
        let x: Vec<f32> = numbers(&mut random, geometry.input_len());
        let dy: Vec<f32> = numbers(&mut random, geometry.output_len());
        let exact = gradients::<f64>(
            &geometry,
            RecipeKind::Unfold,
            [&converted(&x), &converted(&dy)],
        );
        let of = |recipe| {
            let got = gradients::<f32>(&geometry, recipe, [&x, &dy]);
            [errors(&got[0], &exact[0]), errors(&got[1], &exact[1])]
        };
        let direct = of(RecipeKind::Direct);
        for recipe in [RecipeKind::WinogradF2, RecipeKind::WinogradF4] {
            let transformed = of(recipe);
            let name = format!(
                "{recipe} of {batch} × {channels} → {outputs}, {side} × {side}, kernel {kernel:?}, dilation {dilation}, stride {stride}"
            );
            for (of, [got, direct]) in ["weights", "bias"]
                .into_iter()
                .zip([0, 1].map(|of| [transformed[of], direct[of]]))
            {
                let ratios = [got[0] / direct[0], got[1] / direct[1]];
                println!(
                    "{name}: {of}, rms {:.2e} = {:.2} × direct, most {:.2e} = {:.2} ×",
                    got[0], ratios[0], got[1], ratios[1]
                );
                // Two taps have fewer points, which round less.
                let most = if stride == 2 { [1.5, 2.5] } else { MOST };
                assert!(
                    ratios[0] <= most[0] && ratios[1] <= most[1],
                    "{name}: {of}, {ratios:?} times the error of direct"
                );
            }
        }
    }
}

/// NaN in a channel of x spoils the kernels of that channel alone, NaN in one of dy those of that output.
#[test]
fn what_is_not_finite_stays_in_its_channel() {
    const GROUPS: usize = 2;
    let [channels, outputs] = [6, 34];
    let mut random = fastrand::Rng::with_seed(5);
    for (index, (layout, recipe)) in [Layout::ChannelsFirst, Layout::ChannelsLast]
        .into_iter()
        .flat_map(|layout| {
            [RecipeKind::WinogradF2, RecipeKind::WinogradF4].map(|recipe| (layout, recipe))
        })
        .flat_map(|pair| [pair; 2])
        .enumerate()
    {
        let dilation = [[1, 1], [2, 3]][index % 2];
        let options = ConvOptions::new()
            .padding(dilation)
            .dilation(dilation)
            .groups(GROUPS)
            .layout(layout);
        let input = layout.shape(1, channels, &[9, 11]);
        let kernels = [outputs, channels / GROUPS, 3, 3];
        let geometry = ConvGeometry::new(&input, &kernels, &options).unwrap();
        let x: Vec<f32> = numbers(&mut random, geometry.input_len());
        let dy: Vec<f32> = numbers(&mut random, geometry.output_len());
        let clean = gradients(&geometry, recipe, [&x, &dy]);
        let place = |channel: usize, all: usize| match layout {
            Layout::ChannelsFirst => channel * 99 + 50,
            Layout::ChannelsLast => 50 * all + channel,
        };
        let check =
            |got: &[Vec<f32>; 2], spoiled: &dyn Fn(usize, usize) -> bool, bias: &[usize]| {
                for (at, (got, clean)) in got[0].iter().zip(&clean[0]).enumerate() {
                    let (output, channel) = (at / 9 / 3, at / 9 % 3);
                    let channel = output / (outputs / GROUPS) * 3 + channel;
                    if spoiled(output, channel) {
                        assert!(!got.is_finite(), "{recipe}: weight {at} is {got}");
                    } else {
                        assert_eq!(got, clean, "{recipe}: weight {at}");
                    }
                }
                for (output, (got, clean)) in got[1].iter().zip(&clean[1]).enumerate() {
                    assert!(got == clean || bias.contains(&output) && got.is_nan());
                }
            };
        for wrong in [f32::NAN, f32::INFINITY] {
            for spoiled in 0..channels {
                let mut x = x.clone();
                x[place(spoiled, channels)] = wrong;
                let got = gradients(&geometry, recipe, [&x, &dy]);
                check(&got, &|_, channel| channel == spoiled, &[]);
            }
        }
        for spoiled in [0, 15, 16, 17, 33] {
            let mut dy = dy.clone();
            dy[place(spoiled, outputs)] = f32::NAN;
            let got = gradients(&geometry, recipe, [&x, &dy]);
            check(&got, &|output, _| output == spoiled, &[spoiled]);
        }
    }
}
