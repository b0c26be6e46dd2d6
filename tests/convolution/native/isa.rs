//! The choice of an instruction set: by the CPU, by the variable `GEMMCONV_ISA`, by the options of a plan.

use std::process::Command;

use gemmconv::kernel::Isa;
use gemmconv::{ConvPlan, Pass, PlanOptions, RecipeKind};

use super::layer::Shape;
use crate::support::LAYOUTS;

/// The line by which the child says what it uses.
const ANSWER: &str = "instruction set of a plan: ";

/// Run by the test below in a process of its own: the variable is read once.
#[test]
#[ignore = "the child of the_variable_chooses"]
fn child() {
    let geometry = Shape::dense(4, 4, [4, 4]).geometry(LAYOUTS[0]);
    let options = PlanOptions::new().recipe(RecipeKind::Direct);
    assert_eq!(options.isa, Isa::selected());
    let plan = ConvPlan::<f32>::new(&geometry, &options).unwrap();
    println!(
        "{ANSWER}{}",
        plan.recipe_of(Pass::Forward).blocks().unwrap().isa.name()
    );
}

fn ask(variable: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["native::isa::child", "--exact", "--ignored", "--nocapture"]);
    match variable {
        Some(value) => command.env("GEMMCONV_ISA", value),
        None => command.env_remove("GEMMCONV_ISA"),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let answer = text.lines().find_map(|line| line.split_once(ANSWER));
    answer
        .unwrap_or_else(|| panic!("no answer in {text}"))
        .1
        .to_owned()
}

#[test]
fn the_variable_chooses() {
    for isa in Isa::available() {
        assert_eq!(ask(Some(isa.name())), isa.name());
    }
    // Whatever is not the name of a set that this CPU has changes nothing.
    let detected = Isa::detect().name();
    assert_eq!(ask(None), detected);
    for unknown in ["", "avx", "AVX512", "neon", "portable ", "1"] {
        assert_eq!(ask(Some(unknown)), detected, "{unknown:?}");
    }
}

#[test]
fn an_option_chooses_and_the_explanation_says_so() {
    for isa in Isa::available() {
        for layout in LAYOUTS {
            let geometry = Shape::grouped(4, 2, 2, [5, 6]).geometry(layout);
            for kind in [RecipeKind::Direct, RecipeKind::Grouped] {
                let options = PlanOptions::new().recipe(kind).isa(isa);
                let plan = ConvPlan::<f32>::new(&geometry, &options).unwrap();
                for pass in Pass::ALL {
                    let explanation = plan.explain(pass);
                    let blocks = explanation.recipe.blocks();
                    assert_eq!(blocks.map(|blocks| blocks.isa), Some(isa), "{explanation}");
                    assert!(
                        explanation.to_string().contains(&isa.to_string()),
                        "{explanation}"
                    );
                    assert_eq!(explanation.engine, None);
                }
            }
        }
    }
}
