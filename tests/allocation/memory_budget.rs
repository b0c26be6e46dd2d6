//! The memory that a plan asks its budget for is the memory that it takes.
//!
//! ```text
//! needed = input + output + weights + the largest scratch of one thread  +  what plan and prepared weights hold
//! ```

use crate::counting::counted;
use crate::support::takes;
use gemmconv::kernel::Isa;
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, Error, Layout, Pass, PlanOptions, RecipeKind,
};
use ndarray::ArrayD;

/// Bytes that a plan may hold beyond what it counts: its structs, and the lists of an axis.
const SLACK: usize = 6 << 10;

/// The least budget of a plan, and what it and its prepared weights hold.
fn counted_and_held<T: Element>(geometry: &ConvGeometry, options: &PlanOptions) -> [usize; 2] {
    let weight = ArrayD::from_elem(geometry.weight_shape(), T::ZERO);
    let refused = ConvPlan::<T>::new(geometry, &options.clone().memory_budget(0));
    let Err(Error::MemoryBudget { needed, .. }) = refused else {
        panic!("{refused:?}");
    };
    let ((plan, prepared), counts) = counted(|| {
        let plan = ConvPlan::<T>::new(geometry, options).unwrap();
        let prepared = plan.prepare(&weight).unwrap();
        (plan, prepared)
    });
    assert_eq!(prepared.shape(), weight.shape());
    let scratch = Pass::ALL.map(|pass| plan.min_scratch_len(pass));
    let tensors = geometry.input_len()
        + geometry.output_len()
        + geometry.weight_len()
        + scratch.into_iter().max().unwrap();
    [needed - tensors * size_of::<T>(), counts.held]
}

pub fn forms_and_tables_are_counted() {
    // Threads begin with memory of their own.
    rayon::broadcast(|_| ());
    // Input, weight, stride, dilation, groups.
    let layers: [(&[usize], &[usize], [usize; 3]); 10] = [
        (&[1, 64, 28, 28], &[64, 64, 3, 3], [1, 1, 1]),
        (&[2, 512, 7, 7], &[1, 512, 3, 3], [1, 1, 1]),
        (&[1, 3, 56, 56], &[5, 3, 7, 7], [4, 1, 1]),
        (&[1, 300, 30, 30], &[1000, 300, 1, 1], [1, 1, 1]),
        (&[1, 48, 28, 28], &[64, 48, 5, 5], [1, 1, 1]),
        (&[2, 96, 17, 17], &[96, 96, 1, 7], [1, 1, 1]),
        (&[3, 256, 14, 14], &[256, 1, 5, 5], [2, 1, 256]),
        (&[1, 96, 20, 20], &[128, 3, 3, 3], [1, 1, 32]),
        (&[2, 16, 9, 10, 11], &[17, 16, 3, 3, 3], [3, 1, 1]),
        (&[1, 2, 16, 2000], &[3, 2, 3, 3], [1, 7, 1]),
    ];
    let mut checks = 0;
    for (layout, &(input, weight, [stride, dilation, groups])) in
        [Layout::ChannelsFirst, Layout::ChannelsLast]
            .into_iter()
            .flat_map(|layout| layers.iter().map(move |layer| (layout, layer)))
    {
        let options = ConvOptions::new()
            .stride(stride)
            .dilation(dilation)
            .groups(groups)
            .layout(layout);
        let input = layout.shape(input[0], input[1], &input[2..]);
        let geometry = ConvGeometry::new(&input, weight, &options).unwrap();
        let mut check = |name: String, [counted, held]: [usize; 2]| {
            let apart = held.abs_diff(counted);
            assert!(
                apart <= SLACK + held / 100,
                "{name} of {weight:?}, stride {stride}, {}: {counted} bytes counted, {held} held",
                layout.name()
            );
            checks += 1;
        };
        for kind in RecipeKind::ALL {
            for isa in Isa::available() {
                if takes::<f32>(kind, &geometry) {
                    let options = PlanOptions::new().recipe(kind).isa(isa);
                    let bytes = counted_and_held::<f32>(&geometry, &options);
                    check(format!("{kind} on {isa}"), bytes);
                }
            }
        }
        let bytes = counted_and_held::<f64>(&geometry, &PlanOptions::new());
        check("f64".to_owned(), bytes);
    }
    assert!(checks >= 16 * 4, "{checks} checks");
}
