//! Checkpoints are complete or not there, whatever happens while they are written: SIGKILL, a full disk, damage.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use gemmconv::Error;
use gemmconv::train::checkpoint::{Checkpoint, Checkpoints, Contents, Saved, load, newest};
use gemmconv::train::optimizer::{Optimizer, OptimizerOptions, Parameter};
use gemmconv::train::schedule::Schedule;
use gemmconv::train::weights::{NamedTensor, Target};
use serde::{Deserialize, Serialize};

/// What a trainer could keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    epoch: u64,
    seed: u64,
    rate: f64,
    best: Option<f64>,
    optimizer: OptimizerOptions,
    schedule: Schedule,
    #[serde(default)]
    added_later: u32,
}

/// Every number of it tells the step.
fn state(step: u64) -> State {
    State {
        epoch: step,
        seed: u64::MAX - step,
        rate: 0.1 / (step as f64 + 1.0),
        best: Some(step as f64 / 3.0),
        optimizer: "adamw".parse().unwrap(),
        schedule: "cosine:warmup=5".parse().unwrap(),
        added_later: 1,
    }
}

/// The names of the tensors, and what their elements are above the step.
const WEIGHTS: [(&str, f32); 2] = [("a.weight", 0.0), ("b.weight", 0.25)];
const SLOTS: [(&str, f32); 1] = [("a.weight.exp_avg", 0.5)];

/// Saves a checkpoint whose tensors have `len` elements each.
fn save_with(
    checkpoints: &Checkpoints,
    step: u64,
    len: usize,
    state: &State,
) -> gemmconv::Result<Saved> {
    let filled = |above: f32| vec![step as f32 + above; len];
    let values = [WEIGHTS[0], WEIGHTS[1], SLOTS[0]].map(|(name, above)| (name, filled(above)));
    let tensors = values.each_ref().map(|(name, values)| NamedTensor {
        name,
        shape: std::slice::from_ref(&len),
        values,
    });
    checkpoints.save(&Contents {
        step,
        weights: &tensors[..2],
        metadata: &BTreeMap::from([("architecture".to_owned(), "two".to_owned())]),
        slots: &tensors[2..],
        state,
    })
}

fn save(checkpoints: &Checkpoints, step: u64) -> PathBuf {
    let saved = save_with(checkpoints, step, 10, &state(step)).unwrap();
    assert!(saved.kept.is_empty(), "{:?}", saved.kept);
    saved.path
}

/// All files are whole and of one step.
fn assert_consistent(checkpoint: &Checkpoint<State>, len: usize) {
    let step = checkpoint.step;
    assert_eq!(checkpoint.state, state(step));
    assert_eq!(checkpoint.weights.metadata()["architecture"], "two");
    for (file, tensors) in [
        (&checkpoint.weights, &WEIGHTS[..]),
        (&checkpoint.slots, &SLOTS[..]),
    ] {
        let mut places = vec![vec![f32::NAN; len]; tensors.len()];
        let targets = tensors.iter().zip(&mut places);
        let mut targets: Vec<_> = targets
            .map(|((name, _), values)| Target {
                name,
                shape: std::slice::from_ref(&len),
                values,
            })
            .collect();
        file.load_into(&mut targets).unwrap();
        for ((name, above), values) in tensors.iter().zip(&places) {
            let expected = step as f32 + above;
            assert!(values.iter().all(|&value| value == expected), "{name}");
        }
    }
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = entries.map(|entry| name(entry).into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
    names.sort();
    names
}

/// The newest step, and the messages about newer checkpoints.
fn found(folder: &Path) -> (Option<u64>, Vec<String>) {
    let found = newest::<State>(folder).unwrap();
    if let Some(checkpoint) = &found.checkpoint {
        assert_consistent(checkpoint, 10);
    }
    let skipped = found.skipped.iter().map(ToString::to_string).collect();
    (found.checkpoint.map(|checkpoint| checkpoint.step), skipped)
}

#[test]
fn the_last_ones_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("made/when/missing");
    let checkpoints = Checkpoints::open(&folder, 3).unwrap();
    assert!(checkpoints.is_empty().unwrap());
    assert!(checkpoints.newest::<State>().unwrap().checkpoint.is_none());
    for step in [1, 20, 300, 123_456_789, 4000] {
        let path = save(&checkpoints, step);
        assert_consistent(&load(path).unwrap(), 10);
    }
    // 4000 is older than what was there: a step tells what is newest, and only older ones are removed.
    let kept = [
        "step-00000020",
        "step-00000300",
        "step-00004000",
        "step-123456789",
    ];
    assert_eq!(names(&folder), kept);
    assert_eq!(found(&folder), (Some(123_456_789), vec![]));
    assert!(!checkpoints.is_empty().unwrap());
    assert_eq!(
        names(&folder.join(kept[0])),
        ["state.json", "state.safetensors", "weights.safetensors"]
    );
    // The same step once more leaves the first one alone until the second is complete.
    let checkpoints = {
        drop(checkpoints);
        Checkpoints::open(&folder, 1).unwrap()
    };
    let path = save(&checkpoints, 123_456_789);
    assert_eq!(names(&folder), ["step-123456789-2"]);
    assert_consistent(&newest(&folder).unwrap().checkpoint.unwrap(), 10);
    // Wherever it is moved.
    let moved = root.path().join("best");
    fs::rename(path, &moved).unwrap();
    assert_consistent(&load(&moved).unwrap(), 10);
    assert_eq!(found(&folder), (None, vec![]));
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 1).unwrap();
    let error = Checkpoints::open(folder.path(), 1).unwrap_err();
    assert!(matches!(
        error,
        Error::Io {
            kind: ErrorKind::WouldBlock,
            ..
        }
    ));
    save(&checkpoints, 1);
    drop(checkpoints);
    Checkpoints::open(folder.path(), 1).unwrap();
    let error = Checkpoints::open(folder.path(), 0).unwrap_err();
    assert!(matches!(error, Error::ZeroCount { .. }));
}

#[test]
fn what_was_left_over_is_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let others = [
        ".removing-",
        ".writing-step-1",
        ".writing-stuff",
        "log.jsonl",
        "step-1",
    ];
    for name in others {
        fs::create_dir(path(name)).unwrap();
    }
    for name in [".writing-step-00000007", ".removing-step-00000003-2"] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("weights.safetensors"), "half").unwrap();
    }
    assert_eq!(found(folder.path()), (None, vec![]));
    let _checkpoints = Checkpoints::open(folder.path(), 1).unwrap();
    assert_eq!(names(folder.path()), others);
}

#[test]
fn damage_is_told_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 10).unwrap();
    save(&checkpoints, 1);
    type Damage = fn(&Path);
    let cases: [(Damage, &str, &str); 9] = [
        (
            |path| {
                let file = path.join("weights.safetensors");
                let bytes = fs::read(&file).unwrap();
                fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
            },
            "weights.safetensors",
            "ends at byte 80 of 79",
        ),
        (
            |path| fs::write(path.join("state.safetensors"), "").unwrap(),
            "state.safetensors",
            "the file has 0 bytes",
        ),
        (
            |path| fs::remove_file(path.join("state.safetensors")).unwrap(),
            "state.safetensors",
            "No such file",
        ),
        (
            |path| fs::write(path.join("state.json"), "{\"format\": 1").unwrap(),
            "state.json",
            "the state is broken: EOF",
        ),
        (
            |path| fs::write(path.join("state.json"), "{\"format\": 2}").unwrap(),
            "state.json",
            "has format 2, this version reads 1",
        ),
        (
            |path| {
                let file = path.join("state.json");
                let text = fs::read_to_string(&file).unwrap();
                fs::write(file, text.replace("beta1=0.9", "beta1=1.9")).unwrap();
            },
            "state.json",
            "beta1 is 1.9",
        ),
        (
            |path| {
                let other = path.with_file_name("step-00000001");
                let name = "weights.safetensors";
                fs::copy(other.join(name), path.join(name)).unwrap();
            },
            "weights.safetensors",
            r#"is of step "1""#,
        ),
        (
            |path| {
                let other = path.with_file_name("step-00000001");
                for name in names(path) {
                    fs::copy(other.join(&name), path.join(&name)).unwrap();
                }
            },
            "",
            "the files are of step 1",
        ),
        (
            |path| {
                fs::remove_dir_all(path).unwrap();
                fs::write(path, "a file").unwrap();
            },
            "state.json",
            "",
        ),
    ];
    for (index, (damage, file, part)) in cases.into_iter().enumerate() {
        let path = save(&checkpoints, 2 + index as u64);
        damage(&path);
        let (step, skipped) = found(folder.path());
        assert_eq!((step, skipped.len()), (Some(1), index + 1));
        let place = path.join(file);
        let place = place.to_str().unwrap().trim_end_matches('/');
        assert!(skipped[0].starts_with(place), "{}", skipped[0]);
        assert!(skipped[0].contains(part), "{}", skipped[0]);
    }
    // Going on from the one that is whole, over the damaged ones.
    assert_eq!(save(&checkpoints, 5), folder.path().join("step-00000005-2"));
    fs::remove_dir_all(folder.path().join("step-00000001")).unwrap();
    let (step, skipped) = found(folder.path());
    assert_eq!((step, skipped.len()), (Some(5), 5));
}

#[test]
fn states_of_earlier_versions_and_what_json_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 1).unwrap();
    let path = save(&checkpoints, 3);
    let file = path.join("state.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        json["state"]["optimizer"],
        "adamw:beta1=0.9,beta2=0.999,epsilon=1e-8,decay=0.01"
    );
    let state_of_file = json["state"].as_object_mut().unwrap();
    state_of_file.remove("added_later").unwrap();
    state_of_file.insert("from_the_future".to_owned(), true.into());
    fs::write(&file, json.to_string()).unwrap();
    let read: Checkpoint<State> = load(&path).unwrap();
    let expected = State {
        added_later: 0,
        ..state(3)
    };
    assert_eq!(read.state, expected);
    // NaN would come back as nothing at all.
    let wrong = State {
        rate: f64::NAN,
        ..state(4)
    };
    let error = save_with(&checkpoints, 4, 10, &wrong).unwrap_err();
    let part = "the state cannot be written as JSON: invalid type: null";
    assert!(error.to_string().contains(part), "{error}");
    assert_eq!(names(folder.path()), ["step-00000003"]);
}

/// Six steps, with or without a checkpoint and a new optimizer after the third.
fn train(line: &str, checkpoints: Option<&Checkpoints>) -> [Vec<f32>; 2] {
    let names = ["w", "b"];
    let shapes = [vec![40, 50], vec![40]];
    let parameters = [(2000, true), (40, false)].map(|(len, decay)| Parameter { len, decay });
    let options: OptimizerOptions = line.parse().unwrap();
    let mut optimizer = Optimizer::new(options, &parameters).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut draw = |len| -> Vec<f32> { (0..len).map(|_| random.f32() - 0.5).collect() };
    let mut values = parameters.map(|parameter| draw(parameter.len));
    for step in 0..6 {
        if let (Some(checkpoints), 3) = (checkpoints, step) {
            let weights: Vec<_> = (0..2)
                .map(|index| NamedTensor {
                    name: names[index],
                    shape: &shapes[index],
                    values: &values[index],
                })
                .collect();
            let slot_name = |slot: usize, name: &str| format!("{}.{name}", names[slot]);
            let slot_names: Vec<_> = optimizer
                .slots()
                .map(|slot| slot_name(slot.parameter, slot.name))
                .collect();
            let slots: Vec<_> = optimizer
                .slots()
                .zip(&slot_names)
                .map(|(slot, name)| NamedTensor {
                    name,
                    shape: &shapes[slot.parameter],
                    values: slot.values,
                })
                .collect();
            let contents = Contents {
                step,
                weights: &weights,
                metadata: &BTreeMap::new(),
                slots: &slots,
                state: optimizer.options(),
            };
            checkpoints.save(&contents).unwrap();

            let read = checkpoints.newest::<OptimizerOptions>().unwrap();
            let read = read.checkpoint.unwrap();
            values.iter_mut().for_each(|values| values.fill(f32::NAN));
            let mut targets: Vec<_> = values
                .iter_mut()
                .enumerate()
                .map(|(index, values)| Target {
                    name: names[index],
                    shape: &shapes[index],
                    values,
                })
                .collect();
            read.weights.load_into(&mut targets).unwrap();
            optimizer = Optimizer::new(read.state, &parameters).unwrap();
            optimizer.set_steps(read.step);
            let mut targets: Vec<_> = optimizer
                .slots_mut()
                .zip(&slot_names)
                .map(|(slot, name)| Target {
                    name,
                    shape: &shapes[slot.parameter],
                    values: slot.values,
                })
                .collect();
            read.slots.load_into(&mut targets).unwrap();
        }
        let mut down = optimizer.begin(0.1 / (step as f64 + 1.0)).unwrap();
        for (index, values) in values.iter_mut().enumerate() {
            down.update(index, values, &draw(parameters[index].len))
                .unwrap();
        }
    }
    values
}

#[test]
fn an_optimizer_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 1).unwrap();
    for line in [
        "sgd",
        "sgd:momentum=0.9,nesterov,decay=5e-4",
        "adam",
        "adamw:beta1=0.85,decay=0.1",
    ] {
        assert_eq!(train(line, Some(&checkpoints)), train(line, None), "{line}");
    }
}

/// Names the folder that [`child`] is to write to, and says how.
const CHILD: &str = "GEMMCONV_CHECKPOINT_CHILD";

/// Elements of a tensor that takes a while to write.
const LONG: usize = 200_000;

/// This test alone, in a process of its own.
fn child_command(shell: &str, what: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$@\"")])
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::child", "--ignored", "--nocapture"])
        .env(CHILD, format!("{what}:{}", folder.display()))
        .stdout(std::process::Stdio::null());
    command
}

#[test]
#[ignore = "the other tests start it in a process of its own"]
fn child() {
    let order = std::env::var(CHILD).expect("the other tests of this file start this one");
    let (what, folder) = order.split_once(':').unwrap();
    let folder = Path::new(folder);
    let checkpoints = Checkpoints::open(folder, 2).unwrap();
    match what {
        "save until killed" => {
            let found = checkpoints.newest::<State>().unwrap();
            let first = found.checkpoint.map_or(0, |checkpoint| checkpoint.step + 1);
            for step in first.. {
                save_with(&checkpoints, step, LONG, &state(step)).unwrap();
            }
        }
        "StorageFull" | "FileTooLarge" => {
            save(&checkpoints, 1);
            let error = save_with(&checkpoints, 2, LONG, &state(2)).unwrap_err();
            let Error::Io { path, kind, .. } = &error else {
                panic!("{error}");
            };
            let file = folder.join(".writing-step-00000002/weights.safetensors");
            assert_eq!(Path::new(path), file);
            assert_eq!(format!("{kind:?}"), what, "{error}");
            assert_eq!(names(folder), ["step-00000001"]);
            assert_eq!(found(folder), (Some(1), vec![]));
            // And there is room again for a smaller one.
            save(&checkpoints, 3);
            assert_eq!(found(folder), (Some(3), vec![]));
        }
        other => panic!("{other}"),
    }
}

#[cfg(unix)]
#[test]
fn killed_at_ten_random_moments() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("checkpoints");
    fs::create_dir(&folder).unwrap();
    let newest_step = || {
        let found = newest::<State>(&folder).unwrap();
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        found.checkpoint.map(|checkpoint| {
            assert_consistent(&checkpoint, LONG);
            checkpoint.step
        })
    };
    let mut interrupted = 0;
    let mut random = fastrand::Rng::new();
    for round in 0..10 {
        let before = newest_step();
        let mut child = child_command("", "save until killed", &folder)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        // The training goes on where it was.
        while newest_step() == before {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "round {round}");
            assert!(begun.elapsed() < Duration::from_secs(300), "round {round}");
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..100_000)));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "killed");
        assert!(newest_step() > before);
        let left = names(&folder);
        interrupted += usize::from(left.iter().any(|name| name.starts_with('.')));
        assert!(left.iter().any(|name| name.starts_with("step-")));
    }
    // A process that does nothing but save is killed between two saves next to never.
    assert!(interrupted > 0);
    let _checkpoints = Checkpoints::open(&folder, 2).unwrap();
    assert!(names(&folder).iter().all(|name| name.starts_with("step-")));
}

fn assert_success(status: ExitStatus) {
    assert!(status.success(), "{status}: see the messages above");
}

/// No file may be larger than 64 blocks: what a full disk does, for everybody.
#[cfg(unix)]
#[test]
fn no_room_for_a_file() {
    let root = tempfile::tempdir().unwrap();
    let shell = "trap '' XFSZ; ulimit -f 64;";
    let mut child = child_command(shell, "FileTooLarge", root.path());
    assert_success(child.status().unwrap());
    assert_eq!(names(root.path()), ["step-00000001", "step-00000003"]);
}

/// A disk of 256 KiB, where the system lets a user make one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let root = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=256k tmpfs '{}'",
        root.path().display()
    );
    let own = ["unshare", "-Urm", "sh", "-c"];
    let possible = Command::new(own[0])
        .args(&own[1..])
        .arg(&mount)
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        let message = "NOT TESTED: a full disk, since no file system can be mounted here";
        // `eprintln!` would be captured, and shown only for tests that fail.
        let _ = writeln!(std::io::stderr(), "{message}");
        return;
    }
    let shell = format!("exec unshare -Urm sh -c \"{mount} && exec \\\"\\$@\\\"\" sh \"$@\";");
    let mut child = child_command(&shell, "StorageFull", root.path());
    assert_success(child.status().unwrap());
    assert!(names(root.path()).is_empty(), "it wrote beside its disk");
}
