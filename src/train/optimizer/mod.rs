//! Optimizers: a step of every parameter down its gradient.
//!
//! ```text
//! g ← scale · gradient                                         the factor of clipping, 1 without
//!
//! SGD      g ← g + decay · p;   b ← μ b + g                    b = g at the first step
//!          p ← p − rate · b          or, with Nesterov,   p ← p − rate · (g + μ b)
//! Adam     g ← g + decay · p
//! AdamW    p ← (1 − rate · decay) p
//!  both    m ← β₁ m + (1 − β₁) g;   v ← β₂ v + (1 − β₂) g²
//!          p ← p − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//! ```
//! p parameter, t the step counted from 1. As in PyTorch, factors are computed in f64 and rounded once. One pass over
//! memory; nothing is summed, so the bits depend neither on threads nor on instruction sets.

mod options;

pub use options::{AdamOptions, OptimizerOptions};

use super::text::in_range;
use crate::element::reserved;
use crate::error::{Error, Result, check_len};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::parallel::{join, threads};

/// Elements of a task: with two slots and the gradient 256 KiB, a part of the second-level cache.
const PIECE: usize = 16 << 10;

/// What an optimizer has to know of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// How many elements it has.
    pub len: usize,
    /// Whether the weight decay counts for it. Often not for biases and for scales of normalisation.
    pub decay: bool,
}

/// What is kept of one parameter.
#[derive(Debug, Clone)]
struct Kept {
    parameter: Parameter,
    /// One for each of [`OptimizerOptions::slot_names`].
    slots: Vec<Vec<f32>>,
}

/// A slot of a parameter, to be saved or set.
#[derive(Debug)]
pub struct Slot<S> {
    /// Which parameter.
    pub parameter: usize,
    /// One of [`OptimizerOptions::slot_names`].
    pub name: &'static str,
    /// As many elements as the parameter has.
    pub values: S,
}

/// Steps of a list of parameters; see the [module](self) for the formulas.
///
/// ```
/// use gemmconv::train::optimizer::{Optimizer, Parameter};
///
/// let (mut value, gradient) = ([1.0f32, 2.0], [0.5, -0.5]);
/// let parameters = [Parameter { len: 2, decay: true }];
/// let mut optimizer = Optimizer::new("sgd:momentum=0.9".parse()?, &parameters)?;
/// optimizer.begin(0.1)?.update(0, &mut value, &gradient)?;
/// assert_eq!(value, [0.95, 2.05]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Optimizer {
    options: OptimizerOptions,
    kept: Vec<Kept>,
    steps: u64,
}

impl Optimizer {
    /// No step done yet, all slots zero.
    ///
    /// # Errors
    /// Those of [`OptimizerOptions::check`]; no memory.
    pub fn new(options: OptimizerOptions, parameters: &[Parameter]) -> Result<Self> {
        options.check()?;
        let kept = parameters.iter().map(|&parameter| {
            let slots = options.slot_names().iter().map(|_| {
                let mut slot = reserved(parameter.len)?;
                slot.resize(parameter.len, 0.0);
                Ok(slot)
            });
            let slots = slots.collect::<Result<_>>()?;
            Ok(Kept { parameter, slots })
        });
        Ok(Self {
            options,
            kept: kept.collect::<Result<_>>()?,
            steps: 0,
        })
    }

    /// What it was made from.
    pub fn options(&self) -> &OptimizerOptions {
        &self.options
    }

    /// How many steps were begun.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Goes on from `steps` steps, read from a checkpoint; the [slots](Self::slots_mut) belong to it.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The slots, parameter after parameter.
    pub fn slots(&self) -> impl Iterator<Item = Slot<&[f32]>> {
        let names = self.options.slot_names();
        self.kept.iter().enumerate().flat_map(move |(index, kept)| {
            names
                .iter()
                .zip(&kept.slots)
                .map(move |(&name, slot)| Slot {
                    parameter: index,
                    name,
                    values: slot.as_slice(),
                })
        })
    }

    /// [`slots`](Self::slots) to write to.
    pub fn slots_mut(&mut self) -> impl Iterator<Item = Slot<&mut [f32]>> {
        let names = self.options.slot_names();
        self.kept
            .iter_mut()
            .enumerate()
            .flat_map(move |(index, kept)| {
                let slots = names.iter().zip(&mut kept.slots);
                slots.map(move |(&name, slot)| Slot {
                    parameter: index,
                    name,
                    values: slot.as_mut_slice(),
                })
            })
    }

    /// The next step, with the learning rate `rate`; then every parameter is [updated](Step::update) once.
    ///
    /// # Errors
    /// A rate below 0, infinite in f32 or NaN; the step is not counted then.
    pub fn begin(&mut self, rate: f64) -> Result<Step<'_>> {
        let inside = rate >= 0.0 && (rate as f32).is_finite();
        in_range("the learning rate", rate, "at least 0 and finite", inside)?;
        self.steps = self.steps.saturating_add(1);
        Ok(Step {
            factors: Factors::new(&self.options, rate, self.steps),
            optimizer: self,
        })
    }
}

/// A step that is being done.
#[derive(Debug)]
pub struct Step<'o> {
    optimizer: &'o mut Optimizer,
    factors: Factors,
}

impl Step<'_> {
    /// Multiplies all gradients by `factor` before anything else, as [clipping](super::clip::factor) asks.
    pub fn scale(mut self, factor: f32) -> Self {
        self.factors.scale = factor;
        self
    }

    /// Changes `value`, parameter number `index`, down its `gradient`.
    ///
    /// # Errors
    /// No such parameter; a slice that has not its length.
    pub fn update(&mut self, index: usize, value: &mut [f32], gradient: &[f32]) -> Result<()> {
        let limit = self.optimizer.kept.len();
        let Some(kept) = self.optimizer.kept.get_mut(index) else {
            return Err(Error::Index {
                index,
                position: 0,
                limit,
            });
        };
        check_len("the parameter", kept.parameter.len, value.len())?;
        check_len("its gradient", kept.parameter.len, gradient.len())?;
        let factors = match kept.parameter.decay {
            true => self.factors,
            false => self.factors.without_decay(),
        };
        match kept.slots.as_mut_slice() {
            [] => in_pieces((value, &mut [], &mut []), gradient, factors),
            [buffer] => in_pieces((value, buffer, &mut []), gradient, factors),
            [mean, square, ..] => in_pieces((value, mean, square), gradient, factors),
        }
        Ok(())
    }
}

/// The numbers of a step, as f32.
#[derive(Debug, Clone, Copy)]
struct Factors {
    rule: Rule,
    scale: f32,
    /// What is added to the gradient for each unit of the parameter.
    decay: f32,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Plain { rate: f32 },
    Momentum { rate: f32, momentum: f32 },
    Nesterov { rate: f32, momentum: f32 },
    Adam(AdamFactors),
}

#[derive(Debug, Clone, Copy)]
struct AdamFactors {
    /// 1 − rate · decay where the decay is decoupled, else 1.
    keep: f32,
    beta1: f32,
    /// 1 − β₁.
    one1: f32,
    beta2: f32,
    /// 1 − β₂.
    one2: f32,
    /// √(1 − β₂ᵗ).
    root: f32,
    epsilon: f32,
    /// rate / (1 − β₁ᵗ).
    rate: f32,
}

impl Factors {
    fn new(options: &OptimizerOptions, rate: f64, step: u64) -> Self {
        let (rule, decay) = match *options {
            OptimizerOptions::Sgd {
                momentum,
                nesterov,
                decay,
            } => {
                let (rate, momentum) = (rate as f32, momentum as f32);
                let rule = match (momentum, nesterov) {
                    (0.0, _) => Rule::Plain { rate },
                    (_, false) => Rule::Momentum { rate, momentum },
                    (_, true) => Rule::Nesterov { rate, momentum },
                };
                (rule, decay)
            }
            OptimizerOptions::Adam(adam) => (Rule::adam(&adam, 1.0, rate, step), adam.decay),
            OptimizerOptions::AdamW(adam) => {
                (Rule::adam(&adam, 1.0 - rate * adam.decay, rate, step), 0.0)
            }
        };
        Self {
            rule,
            scale: 1.0,
            decay: decay as f32,
        }
    }

    fn without_decay(mut self) -> Self {
        self.decay = 0.0;
        if let Rule::Adam(adam) = &mut self.rule {
            adam.keep = 1.0;
        }
        self
    }
}

impl Rule {
    fn adam(adam: &AdamOptions, keep: f64, rate: f64, step: u64) -> Self {
        let power = |beta: f64| libm::pow(beta, step as f64);
        Self::Adam(AdamFactors {
            keep: keep as f32,
            beta1: adam.beta1 as f32,
            one1: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            one2: (1.0 - adam.beta2) as f32,
            root: (1.0 - power(adam.beta2)).sqrt() as f32,
            epsilon: adam.epsilon as f32,
            rate: (rate / (1.0 - power(adam.beta1))) as f32,
        })
    }
}

/// A parameter and its slots; slots that the rule does not have are empty.
type Changed<'p> = (&'p mut [f32], &'p mut [f32], &'p mut [f32]);

/// Updates piece after piece, on the threads of the pool in force.
fn in_pieces((value, first, second): Changed<'_>, gradient: &[f32], factors: Factors) {
    if value.len() <= PIECE {
        let changed = (value, first, second);
        return compiled(
            Isa::selected(),
            Update {
                changed,
                gradient,
                factors,
            },
        );
    }
    let half = value.len().div_ceil(PIECE) / 2 * PIECE;
    let (value, values) = value.split_at_mut(half);
    let (first, firsts) = first.split_at_mut(half.min(first.len()));
    let (second, seconds) = second.split_at_mut(half.min(second.len()));
    let (gradient, gradients) = gradient.split_at(half);
    let mut left = || in_pieces((value, first, second), gradient, factors);
    let mut right = || in_pieces((values, firsts, seconds), gradients, factors);
    if threads() == 1 {
        left();
        right();
    } else {
        join(left, right);
    }
}

struct Update<'p> {
    changed: Changed<'p>,
    gradient: &'p [f32],
    factors: Factors,
}

impl Loop for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (value, first, second) = self.changed;
        let Factors { rule, scale, decay } = self.factors;
        let values = value.iter_mut().zip(self.gradient);
        match rule {
            Rule::Plain { rate } => {
                for (p, &gradient) in values {
                    *p -= rate * (gradient * scale + decay * *p);
                }
            }
            Rule::Momentum { rate, momentum } => {
                for ((p, &gradient), b) in values.zip(first) {
                    *b = momentum * *b + (gradient * scale + decay * *p);
                    *p -= rate * *b;
                }
            }
            Rule::Nesterov { rate, momentum } => {
                for ((p, &gradient), b) in values.zip(first) {
                    let g = gradient * scale + decay * *p;
                    *b = momentum * *b + g;
                    *p -= rate * (g + momentum * *b);
                }
            }
            Rule::Adam(adam) => {
                for (((p, &gradient), m), v) in values.zip(first).zip(second) {
                    let g = gradient * scale + decay * *p;
                    *m = adam.beta1 * *m + adam.one1 * g;
                    *v = adam.beta2 * *v + adam.one2 * g * g;
                    let root = v.sqrt() / adam.root + adam.epsilon;
                    *p = *p * adam.keep - adam.rate * *m / root;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p after `steps` steps of the optimizer `line`, all of them down gradients that f32 holds.
    fn descended(line: &str, steps: u32, rate: impl Fn(u32) -> f64) -> (Vec<f32>, Optimizer) {
        let mut p = vec![0.5f32, -1.25, 2.0, 0.0, -0.75];
        let parameter = Parameter {
            len: p.len(),
            decay: true,
        };
        let mut optimizer = Optimizer::new(line.parse().unwrap(), &[parameter]).unwrap();
        for t in 0..steps {
            let gradient = |i: u32| ((t * 7 + i * 5) % 11) as f32 / 16.0 - 5.0 / 16.0;
            let gradient: Vec<f32> = (0..5).map(gradient).collect();
            let mut step = optimizer.begin(rate(t)).unwrap();
            step.update(0, &mut p, &gradient).unwrap();
        }
        (p, optimizer)
    }

    fn assert_near(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len(), "{what}");
        for (&got, &expected) in got.iter().zip(expected) {
            let difference = (f64::from(got) - expected).abs();
            assert!(
                difference <= tolerance,
                "{what}: {got}, expected {expected}"
            );
        }
    }

    /// Numbers that need no rounding: p = 1, gradient ½, rate ½, momentum ½, decay ¼.
    #[test]
    fn sgd_by_hand() {
        // d = ½ + p/4; b = b/2 + d; p = p − b/2
        let momentum = [0.625f32, 0.109375, -211.0 / 512.0];
        // d = ½ + p/4; b = b/2 + d; p = p − (d + b/2)/2
        let nesterov = [0.4375f32, -0.11328125];
        let plain = [0.625f32, 0.296875];
        for (line, expected) in [
            ("sgd:momentum=0.5,decay=0.25", momentum.as_slice()),
            ("sgd:momentum=0.5,nesterov,decay=0.25", &nesterov),
            ("sgd:decay=0.25", &plain),
        ] {
            let parameters = [true, false].map(|decay| Parameter { len: 1, decay });
            let mut optimizer = Optimizer::new(line.parse().unwrap(), &parameters).unwrap();
            let (mut p, mut undecayed) = ([1.0f32], [1.0f32]);
            for (t, &expected) in expected.iter().enumerate() {
                let mut step = optimizer.begin(0.5).unwrap();
                step.update(0, &mut p, &[0.5]).unwrap();
                step.update(1, &mut undecayed, &[0.5]).unwrap();
                assert_eq!(p[0], expected, "{line}, step {}", t + 1);
            }
            assert_eq!(optimizer.steps(), expected.len() as u64);
        }
        // Without decay: p = 1 − ½ · ½, then b = ¼ + ½, p = ¾ − ⅜.
        let parameters = [Parameter {
            len: 1,
            decay: false,
        }];
        let options = "sgd:momentum=0.5,decay=0.25".parse().unwrap();
        let mut optimizer = Optimizer::new(options, &parameters).unwrap();
        let mut p = [1.0f32];
        for expected in [0.75, 0.375] {
            // A gradient of 4 in units of ⅛.
            let mut step = optimizer.begin(0.5).unwrap().scale(0.125);
            step.update(0, &mut p, &[4.0]).unwrap();
            assert_eq!(p, [expected]);
        }
    }

    /// Made by `torch.optim` 2.15 in f64; in f32 PyTorch itself is up to 2·10⁻⁷ away after 7 steps, 4·10⁻⁶ after 200.
    #[test]
    fn as_pytorch_does() {
        #[rustfmt::skip]
        const TORCH: [(u32, &str, [f64; 5]); 17] = [
            (1, "sgd:momentum=0.9", [0.53125, -1.25, 1.96875, 0.00625, -0.775]),
            (1, "sgd:momentum=0.9,nesterov,decay=5e-4", [0.5593275, -1.24988125, 1.940435, 0.011875, -0.79742875]),
            (1, "adam", [0.5999999968, -1.25, 1.9000000032, 0.099999984, -0.849999996]),
            (1, "adamw", [0.5994999968, -1.24875, 1.8980000032, 0.099999984, -0.849249996]),
            (7, "sgd", [0.4875, -1.20625, 1.9625, 0.01875, -0.74375]),
            (7, "sgd:decay=5e-4", [0.487320652045, -1.20581850265, 1.96180979126, 0.0187443758437, -0.743484415059]),
            (7, "sgd:momentum=0.9", [0.54186984375, -1.114712125, 1.82724096875, 0.09301738125, -0.778717025]),
            (7, "sgd:momentum=0.9,decay=1e-2", [0.529469044476, -1.08658726628, 1.7827693246, 0.0920800000582, -0.760737222247]),
            (7, "sgd:momentum=0.9,nesterov,decay=5e-4", [0.524417647942, -1.08281056609, 1.80436341215, 0.102387582229, -0.76849611499]),
            (7, "adam", [0.649122530883, -1.03966039511, 1.68699326451, 0.271056922729, -0.903137370562]),
            (7, "adam:decay=0.05,beta1=0.8,beta2=0.95,epsilon=1e-3", [0.538616490834, -0.815609178166, 1.5527755863, 0.222585473121, -0.752540157396]),
            (7, "adamw", [0.644721991766, -1.0315151792, 1.67434246263, 0.269742931456, -0.896948911708]),
            (7, "adamw:decay=0.5", [0.45755030124, -0.689423014966, 1.14299232694, 0.211694758456, -0.634227878794]),
            (200, "sgd:momentum=0.9,nesterov,decay=5e-4", [0.533686644652, -0.970879252758, 1.5852444255, 0.137790618477, -0.777491206493]),
            (200, "adam", [0.66625514098, -1.01747302312, 1.64634579757, 0.286157129027, -0.935334242941]),
            (200, "adam:decay=0.05,beta1=0.8,beta2=0.95,epsilon=1e-3", [0.0188680249857, -0.0180459701596, 0.014608651291, 0.0056341853716, -0.0293440333887]),
            (200, "adamw:decay=0.5", [0.00703857226545, -0.00773361291173, 0.00468937189294, 0.000686171866542, -0.0126812839293]),
        ];
        for (steps, line, expected) in TORCH {
            let tolerance = if steps == 200 { 2e-6 } else { 3e-7 };
            let (p, _) = descended(line, steps, |_| 0.1);
            assert_near(&format!("{line}, {steps} steps"), &p, &expected, tolerance);
        }
        // Rates that change from step to step.
        let rate = |t: u32| 0.1 / f64::from(t + 1);
        #[rustfmt::skip]
        const CHANGING: [(&str, [f64; 5]); 2] = [
            ("sgd:momentum=0.9", [0.5420562202380953, -1.2171606904761907, 1.9281341488095236, 0.03868598452380953, -0.7840013190476189]),
            ("adamw", [0.6252628394612286, -1.1834252337622593, 1.8245270320157445, 0.16719773790491743, -0.8799114287381848]),
        ];
        for (line, expected) in CHANGING {
            assert_near(line, &descended(line, 7, rate).0, &expected, 3e-7);
        }
    }

    #[test]
    fn the_slots_are_those_of_pytorch() {
        let (_, sgd) = descended("sgd:momentum=0.9,nesterov,decay=5e-4", 7, |_| 0.1);
        let (_, adam) = descended("adam", 7, |_| 0.1);
        let (_, plain) = descended("sgd", 7, |_| 0.1);
        assert_eq!(plain.slots().count(), 0);
        #[rustfmt::skip]
        let expected = [
            ("momentum_buffer", [0.1868636940201875, -0.33889101145021916, 0.22962981079317124, -0.10479528903417051, -0.10342589416338324]),
            ("exp_avg", [0.01854109374999999, -0.033579124999999994, 0.022471218750000004, -0.010498068749999999, -0.010135225000000001]),
            ("exp_avg_sq", [0.00032706450945077704, 0.0002297939132933166, 0.0002958808063999566, 0.00026871220980525016, 0.00027650923284084364]),
        ];
        let slots: Vec<_> = sgd.slots().chain(adam.slots()).collect();
        assert_eq!(slots.len(), 3);
        for (slot, (name, values)) in slots.iter().zip(expected) {
            assert_eq!((slot.parameter, slot.name), (0, name));
            assert_near(name, slot.values, &values, 1e-7);
        }
    }

    /// Long enough for tails and several pieces.
    const LENGTHS: [usize; 4] = [0, 37, PIECE + 1, 5 * PIECE + 3];

    fn many_steps(line: &str, stop_after: Option<u64>) -> Vec<Vec<f32>> {
        let parameters = LENGTHS.map(|len| Parameter {
            len,
            decay: len != 37,
        });
        let options = line.parse().unwrap();
        let mut optimizer = Optimizer::new(options, &parameters).unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| random.f32() - 0.5).collect() };
        let mut values: Vec<_> = LENGTHS.iter().map(|&len| draw(len)).collect();
        for step in 1..=5 {
            let mut down = optimizer.begin(0.01).unwrap();
            for (index, value) in values.iter_mut().enumerate() {
                let gradient = draw(value.len());
                down.update(index, value, &gradient).unwrap();
            }
            if stop_after == Some(step) {
                let mut again = Optimizer::new(options, &parameters).unwrap();
                again.set_steps(optimizer.steps());
                for (slot, kept) in again.slots_mut().zip(optimizer.slots()) {
                    assert_eq!((slot.parameter, slot.name), (kept.parameter, kept.name));
                    slot.values.copy_from_slice(kept.values);
                }
                optimizer = again;
            }
        }
        values
    }

    #[test]
    fn the_same_bits_for_any_threads_and_after_a_stop() {
        for line in [
            "sgd",
            "sgd:momentum=0.9,decay=1e-3",
            "sgd:momentum=0.9,nesterov",
            "adam",
            "adamw",
        ] {
            let pool = |threads| {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
                builder.build().unwrap()
            };
            let one = pool(1).install(|| many_steps(line, None));
            assert_eq!(one, pool(3).install(|| many_steps(line, None)), "{line}");
            assert_eq!(one, many_steps(line, Some(2)), "{line}");
            assert!(one.iter().flatten().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn the_same_bits_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut draw = || -> Vec<f32> { (0..1003).map(|_| random.f32()).collect() };
        let (start, gradient) = ([draw(), draw(), draw()], draw());
        for line in [
            "sgd:decay=0.1",
            "sgd:momentum=0.9,decay=0.1",
            "sgd:momentum=0.9,nesterov,decay=0.1",
            "adamw",
        ] {
            let factors = Factors::new(&line.parse().unwrap(), 0.1, 3);
            let results = Isa::available().into_iter().map(|isa| {
                let [mut value, mut first, mut second] = start.clone();
                let update = Update {
                    changed: (&mut value, &mut first, &mut second),
                    gradient: &gradient,
                    factors,
                };
                compiled(isa, update);
                [value, first, second]
            });
            let results: Vec<_> = results.collect();
            assert_ne!(results[0], start);
            assert!(results.iter().all(|other| *other == results[0]), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let parameters = [Parameter {
            len: 2,
            decay: true,
        }];
        let options = "sgd:momentum=0.9".parse().unwrap();
        let mut optimizer = Optimizer::new(options, &parameters).unwrap();
        for rate in [f64::NAN, -0.1, f64::INFINITY, 1e300] {
            let error = optimizer.begin(rate).unwrap_err();
            assert!(matches!(error, Error::Parameter { .. }), "{error}");
        }
        assert_eq!(optimizer.steps(), 0);
        let mut step = optimizer.begin(0.0).unwrap();
        let mut value = [1.0, 2.0];
        let error = step.update(1, &mut value, &[1.0, 1.0]).unwrap_err();
        assert!(matches!(
            error,
            Error::Index {
                index: 1,
                limit: 1,
                ..
            }
        ));
        let error = step.update(0, &mut value, &[1.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its gradient holds 1 elements, expected 2"
        );
        let error = step.update(0, &mut value[..1], &[1.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the parameter holds 1 elements, expected 2"
        );
        step.update(0, &mut value, &[1.0, 1.0]).unwrap();
        assert_eq!(value, [1.0, 2.0], "a rate of 0");
    }
}
