//! What must not be lost without notice: the speed of the direct recipe and the memory of a large layer.
//!
//! Both are judged in release builds, by name: `cargo test --release --test guard -- --ignored`.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use gemmconv::kernel::{Isa, peak_gflops};
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Epilogue, Layout, Pass, PlanOptions, RecipeKind,
};
use ndarray::ArrayD;

const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

/// Says, past the capture of the test harness, that a guard has judged nothing.
fn not_judged(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT JUDGED: {what}: {why}\n");
}

/// `channels` in and out, 3 × 3, padding 1.
fn geometry(batch: usize, channels: usize, side: usize, layout: Layout) -> ConvGeometry {
    let options = ConvOptions::new().padding(1).layout(layout);
    let input = layout.shape(batch, channels, &[side, side]);
    ConvGeometry::new(&input, &[channels, channels, 3, 3], &options).unwrap()
}

/// The part of the multiply-add peak that one thread must reach on 128 channels of 28 × 28.
const LEAST: f64 = 0.6;

/// Each try is the best of the runs in this time.
const TRY: Duration = Duration::from_millis(300);

#[test]
#[ignore = "judges speed: in a release build, by name"]
fn the_direct_recipe_is_near_the_peak() {
    const WHAT: &str = "the speed of the direct recipe";
    if cfg!(debug_assertions) {
        return not_judged(WHAT, "this is no release build");
    }
    if Isa::selected() == Isa::Portable {
        return not_judged(WHAT, "plain Rust is to run, not AVX-512 or AVX2 with FMA");
    }
    for layout in LAYOUTS {
        let geometry = geometry(1, 128, 28, layout);
        let options = PlanOptions::new()
            .recipe(RecipeKind::Direct)
            .isa(Isa::selected())
            .serial_below(u128::MAX);
        let plan = ConvPlan::<f32>::new(&geometry, &options).unwrap();
        let weights = plan
            .prepare(&ArrayD::from_elem(geometry.weight_shape(), 0.01))
            .unwrap();
        let x = vec![0.5; geometry.input_len()];
        let mut y = vec![0.0; geometry.output_len()];
        let mut scratch = vec![0.0; plan.scratch_len(Pass::Forward)];
        let mut once = || {
            let start = Instant::now();
            plan.forward_with_scratch(&x, &weights, &Epilogue::none(), &mut y, &mut scratch)
                .unwrap();
            geometry.operations() as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        let mut reached = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            let mut best: f64 = 0.0;
            while start.elapsed() < TRY {
                best = best.max(once());
            }
            reached.push(best / peak_gflops::<f32>());
        }
        assert!(
            reached.iter().any(|&part| part >= LEAST),
            "{}, {}: {reached:.3?} of the peak of {:.1} GFLOP/s in three tries, at least {LEAST} is wanted",
            layout.name(),
            Isa::detect(),
            peak_gflops::<f32>(),
        );
    }
}

/// What a process may use beside 1.1 times its tensors: code, stacks, the allocator, scratch.
const BESIDE: usize = 32 << 20;

/// The variable that tells the child which pass and layout to run.
const TASK: &str = "GEMMCONV_MEMORY_OF";

/// One pass of 64 channels of 224 × 224 in a batch of 16, by the calls of somebody who manages no buffers.
#[test]
#[ignore = "the child of memory_stays_near_the_tensors"]
fn memory_child() {
    let Ok(task) = std::env::var(TASK) else {
        return not_judged("memory", "this is the child of another test");
    };
    let (pass, layout) = task.split_once(' ').unwrap();
    let layout = LAYOUTS
        .into_iter()
        .find(|known| known.name() == layout)
        .unwrap();
    let geometry = geometry(16, 64, 224, layout);
    let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new()).unwrap();
    let kernel = ArrayD::from_elem(geometry.weight_shape(), 0.01f32);
    let input = || ArrayD::from_elem(geometry.input_shape(), 0.5f32);
    let output = || ArrayD::from_elem(geometry.output_shape(), 0.5f32);
    let result = match pass.parse().unwrap() {
        Pass::Forward => {
            let weights = plan.prepare(&kernel).unwrap();
            plan.forward(&input(), &weights, &Epilogue::none())
        }
        Pass::BackwardInput => plan.backward_input(&plan.prepare(&kernel).unwrap(), &output()),
        Pass::BackwardWeight => plan.backward_weight(&input(), &output()),
    };
    // An inner element, which every channel and tap has a part in.
    let result = result.unwrap();
    let inner: Vec<usize> = result.shape().iter().map(|length| length / 2).collect();
    let expected = match pass.parse().unwrap() {
        Pass::BackwardWeight => 0.25 * 16.0 * 224.0 * 224.0,
        _ => 64.0 * 9.0 * 0.005,
    };
    let got = result[inner.as_slice()];
    assert!(
        (got - expected).abs() < 1e-3 * expected,
        "{got}, expected {expected}"
    );
    println!("peak {} bytes", peak_memory().unwrap());
}

/// The most memory that this process ever held, where the system tells.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[test]
#[ignore = "takes a gigabyte and some seconds: in a release build, by name"]
fn memory_stays_near_the_tensors() {
    if peak_memory().is_none() {
        return not_judged(
            "the memory of a large layer",
            "no VmHWM in /proc/self/status",
        );
    }
    let geometry = geometry(16, 64, 224, Layout::ChannelsFirst);
    let tensors = 4 * (geometry.input_len() + geometry.output_len() + geometry.weight_len());
    let most = tensors + tensors / 10 + BESIDE;
    for (pass, layout) in Pass::ALL
        .into_iter()
        .flat_map(|pass| LAYOUTS.map(|layout| (pass, layout)))
    {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["memory_child", "--exact", "--ignored", "--nocapture"])
            .env(TASK, format!("{pass} {}", layout.name()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        let name = format!("{pass}, {}", layout.name());
        assert!(
            child.status.success(),
            "{name}: {text}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let peak = text
            .split_once("peak ")
            .and_then(|(_, rest)| rest.split_once(" bytes"));
        let peak: usize = peak
            .unwrap_or_else(|| panic!("{name}: {text}"))
            .0
            .parse()
            .unwrap();
        assert!(
            peak >= tensors / 2 && peak <= most,
            "{name}: {peak} bytes, at most {most} for {tensors} bytes of tensors"
        );
    }
}
