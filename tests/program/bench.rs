//! `gemmconv bench` as other programs see it: arguments in; output, errors and exit status out.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Two small problems, one of them grouped, strided and with a name.
const PLAIN: &str = "mb1ic3ih9oc4kh3ph1";
const NAMED: &str = r#"g2mb2ic4ih9iw8oc6oh5ow8kh3kw5sh2pw2ph1n"named*3""#;

const KEYS: [&str; 17] = [
    "problem",
    "name",
    "direction",
    "recipe",
    "engine",
    "layout",
    "threads",
    "batch",
    "median_seconds",
    "min_seconds",
    "runs",
    "gflops",
    "peak_gflops",
    "scratch_bytes",
    "max_error",
    "rms_error",
    "chosen",
];

/// Runs `gemmconv bench --budget 0 …`: five runs a row.
fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gemmconv"))
        .args(["bench", "--budget", "0"])
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output as JSON, every line of it.
fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The keys of a line in the order written.
fn keys(line: &str) -> Vec<String> {
    // `serde_json` sorts keys when it reads an object, so the order is taken from the text.
    let object: Value = serde_json::from_str(line).unwrap();
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| line.find(&format!("\"{key}\":")).unwrap());
    keys
}

#[test]
fn json_rows_have_the_keys_of_the_contract() {
    let output = bench(&[
        "--problem",
        NAMED,
        "--threads",
        "2",
        "--layout",
        "nhwc",
        "--json",
        "-",
    ]);
    let rows = rows(&output);
    assert_eq!(rows.len(), 1, "auto alone");
    assert_eq!(keys(&text(&output.stdout)), KEYS);
    let row = &rows[0];
    assert_eq!(row["problem"], NAMED);
    assert_eq!(row["name"], "named*3");
    assert_eq!(row["direction"], "forward");
    assert_eq!(row["layout"], "nhwc");
    assert_eq!(
        (row["threads"].as_u64(), row["batch"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(row["runs"], 5);
    assert_eq!(row["max_error"], Value::Null);
    assert_eq!(row["rms_error"], Value::Null);
    let number = |key: &str| row[key].as_f64().unwrap();
    assert!(number("min_seconds") > 0.0 && number("min_seconds") <= number("median_seconds"));
    // 2 · mb · oc · oh · ow · (ic / g) · kh · kw
    let operations = 2.0 * 2.0 * 6.0 * 5.0 * 8.0 * 2.0 * 15.0;
    let gflops = operations / number("median_seconds") / 1e9;
    assert!((number("gflops") / gflops - 1.0).abs() < 1e-9);
    assert!(number("peak_gflops") > 0.0);
    assert!(row["scratch_bytes"].is_u64());
}

#[test]
fn every_direction_and_recipe_agrees_with_the_reference() {
    for layout in ["nchw", "nhwc"] {
        let output = bench(&[
            "--problem",
            PLAIN,
            "--problem",
            NAMED,
            "--direction",
            "all",
            "--recipe",
            "all",
            "--recipe",
            "auto",
            "--engine",
            "all",
            "--layout",
            layout,
            "--check",
            "--json",
            "-",
        ]);
        let rows = rows(&output);
        for direction in ["forward", "backward-input", "backward-weight"] {
            for recipe in ["naive", "unfold"] {
                let found: Vec<_> = rows
                    .iter()
                    .filter(|row| row["direction"] == direction && row["recipe"] == recipe)
                    .collect();
                assert!(found.len() >= 2, "{direction} {recipe}");
                for row in found {
                    assert_eq!(row["engine"].is_null(), recipe == "naive");
                    let error = |key: &str| row[key].as_f64().unwrap();
                    assert!(error("max_error") < 1e-5, "{row}");
                    assert!(error("rms_error") < 1e-5, "{row}");
                }
            }
        }
    }
}

#[test]
fn every_way_is_a_row_once_and_the_choice_is_marked() {
    // With padding; one tap; depthwise.
    let depthwise = "g16mb1ic16ih9oc16kh3ph1";
    for (problem, more) in [
        (PLAIN, "direct"),
        ("ic5ih8oc7kh1", "pointwise"),
        (depthwise, "grouped"),
    ] {
        let arguments = ["--problem", problem, "--direction", "all", "--recipe"];
        let output = bench(
            &[
                &arguments[..],
                &["all", "--recipe", "auto", "--engine", "all", "--json", "-"],
            ]
            .concat(),
        );
        let all = rows(&output);
        let own = rows(&bench(&[&arguments[..], &["auto", "--json", "-"]].concat()));
        assert_eq!(own.len(), 3);
        for own in &own {
            assert_eq!(own["chosen"], true);
            let of_pass = all
                .iter()
                .filter(|row| row["direction"] == own["direction"]);
            let of_pass: Vec<&Value> = of_pass.collect();
            assert!(of_pass.iter().any(|row| row["recipe"] == more), "{problem}");
            for row in &of_pass {
                let same = |other: &&&Value| {
                    ["recipe", "engine"]
                        .iter()
                        .all(|&key| other[key] == row[key])
                };
                assert_eq!(of_pass.iter().filter(same).count(), 1, "{row}");
                assert_eq!(row["chosen"], row["recipe"] == own["recipe"], "{row}");
            }
            // Of one tap `pointwise` is the name, of several `direct`.
            let dense = |name| of_pass.iter().any(|row| row["recipe"] == name);
            assert_ne!(dense("direct"), dense("pointwise"), "{problem}");
        }
        let message = text(&output.stderr);
        assert!(
            message.contains("the plan's choice lost more than 10% on"),
            "{message}"
        );
        assert!(message.contains(" of 3"), "{message}");
    }
    // In the table they are marked too, and judged below it; the loops are no candidate.
    let output = bench(&["--problem", PLAIN, "--recipe", "candidates"]);
    let out = text(&output.stdout);
    assert_eq!(out.matches("(auto)").count(), 1, "{out}");
    assert!(
        out.lines().skip(2).all(|line| !line.contains("naive")),
        "{out}"
    );
    assert!(
        out.contains("the plan's choice lost more than 10% on") && out.contains(" of 1"),
        "{out}"
    );
    assert!(!text(&bench(&["--problem", PLAIN]).stdout).contains("choice"));
}

#[test]
fn what_a_recipe_cannot_do_has_a_reason_and_no_row() {
    let far = "ic4ih40oc4kh3sh17";
    let arguments = [
        "--problem",
        far,
        "--direction",
        "all",
        "--json",
        "-",
        "--recipe",
    ];
    let why = "the stride is large";
    let output = bench(&[&arguments[..], &["direct"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains(&format!(
            "error: {far} backward-input: direct is not possible: {why}"
        )),
        "{message}"
    );
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(
        out.lines()
            .all(|line| line.contains(r#""recipe":"direct""#)),
        "{out}"
    );

    let output = bench(&[&arguments[..], &["all"]].concat());
    let message = text(&output.stderr);
    assert!(
        message.contains(&format!(
            "note: direct is not possible for {far} backward-input: {why}"
        )),
        "{message}"
    );
    let several = format!(
        "note: pointwise is not possible for {far} forward and 2 more: the kernel has several taps"
    );
    assert!(message.contains(&several), "{message}");
    let found = rows(&output);
    let of = |pass, recipe| {
        found
            .iter()
            .filter(|row| row["direction"] == pass && row["recipe"] == recipe)
            .count()
    };
    assert_eq!(
        (
            of("backward-input", "unfold"),
            of("backward-input", "direct")
        ),
        (1, 0),
        "{found:?}"
    );
    assert_eq!(of("forward", "direct"), 1);
}

#[test]
fn the_peak_is_that_of_the_instruction_set_in_use() {
    for isa in gemmconv::kernel::Isa::available() {
        let output = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
            .args([
                "bench",
                "--budget",
                "0",
                "--problem",
                PLAIN,
                "--recipe",
                "direct",
            ])
            .env("GEMMCONV_ISA", isa.name())
            .output()
            .unwrap();
        let out = text(&output.stdout);
        let heading = out.lines().next().unwrap_or_default();
        assert!(heading.ends_with(&format!("GFLOP/s ({isa})")), "{out}");
    }
}

#[test]
fn the_table_names_rows_and_says_how_many_times_faster() {
    let output = bench(&[
        "--problem",
        NAMED,
        "--problem",
        PLAIN,
        "--check",
        "--batch",
        "3",
    ]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[0].contains("1 thread") && lines[0].contains("measured peak of fused multiply-add"),
        "{out}"
    );
    for title in [
        "problem",
        "recipe",
        "time",
        "GFLOP/s",
        "peak",
        "x naive",
        "scratch",
        "max error",
    ] {
        assert!(lines[1].contains(title), "{title}: {out}");
    }
    assert_eq!(lines.len(), 2 + 2 * 2, "{out}");
    assert!(
        lines[2].starts_with("named*3")
            && lines[2].contains("naive")
            && lines[2].contains(" 1.00x")
    );
    assert!(
        lines[3].contains("(auto)") && lines[3].contains('x'),
        "{out}"
    );
    assert!(lines[4].starts_with(PLAIN));
    let longest = lines.iter().map(|line| line.chars().count()).max();
    assert!(longest <= Some(132), "{out}");
}

#[test]
fn json_and_svg_files_are_written_beside_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let (json, svg) = (
        folder.path().join("rows.json"),
        folder.path().join("bars.svg"),
    );
    let name = r#"mb1ic1ih5oc1kh2n"a<b&c""#;
    let arguments = [
        "--problem",
        name,
        "--json",
        json.to_str().unwrap(),
        "--svg",
        svg.to_str().unwrap(),
    ];
    let output = bench(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("a<b&c"));
    let lines = std::fs::read_to_string(json).unwrap();
    assert_eq!(lines.lines().count(), 2, "naive and auto");
    assert!(lines.lines().all(|line| keys(line) == KEYS));
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    assert!(picture.contains("a&lt;b&amp;c forward"), "{picture}");
    assert!(
        picture.matches("<rect").count() >= 1 + 2 + 2,
        "background, legend, bars"
    );
}

#[test]
fn a_list_is_read_with_comments_and_foreign_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.txt");
    std::fs::write(
        &file,
        format!("# comment\n\n--strides=1x2 {PLAIN} # rest\n{NAMED}\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = bench(&["--problems", file, "--json", "-"]);
    assert_eq!(rows(&output).len(), 2);
    assert!(text(&output.stderr).contains("line 3: --strides=1x2"));

    std::fs::write(file, format!("{PLAIN}\nic3ih9oc4\n")).unwrap();
    let output = bench(&["--problems", file]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("list.txt") && message.contains("line 2: `ic3ih9oc4`: `kh` is missing"),
        "{message}"
    );

    std::fs::write(file, "# nothing\n").unwrap();
    assert!(text(&bench(&["--problems", file]).stderr).contains("no problem is listed"));
    std::fs::write(file, b"ic1\xff").unwrap();
    assert!(text(&bench(&["--problems", file]).stderr).contains("reading"));
    let output = bench(&["--problems", "no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("reading no/such/file"));
}

#[test]
fn no_file_is_lost_to_an_output() {
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (list, old) = (name("shapes.txt"), name("old.json"));
    std::fs::write(&list, PLAIN).unwrap();
    std::fs::write(&old, "old").unwrap();
    let (new, none) = (name("new"), name("none/x.svg"));
    for arguments in [
        ["--problems", &list, "--json", &list],
        ["--problems", &list, "--svg", &list],
        ["--json", &new, "--svg", &new],
        ["--json", &old, "--svg", &none],
        ["--svg", &old, "--json", &none],
    ] {
        let output = bench(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("error: "), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_to_string(&list).unwrap(), PLAIN);
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn names_cannot_steer_the_terminal_or_break_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("bars.svg");
    let good = "mb1ic1ih5oc1kh2n\"a\u{1b}[2Jb\"";
    let bad = "g3ic4ih9oc6kh3n\"c\u{1b}[2Jd\"";
    let arguments = ["--problem", good, "--problem", bad, "--svg"];
    let output = bench(&[&arguments[..], &[svg.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let picture = std::fs::read_to_string(svg).unwrap();
    for shown in [text(&output.stdout), text(&output.stderr), picture] {
        let steering = |symbol: char| symbol.is_control() && symbol != '\n';
        assert!(!shown.contains(steering), "{shown:?}");
        assert!(shown.contains("\u{fffd}[2J"), "{shown:?}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (arguments, message) in [
        (["--problem", "ic3ih9xx4"], "`xx4` begins with no key"),
        (["--problem", "ic1ih56oc1oh58kh3ph1"], "55 to 57 can"),
        (["--recipe", "magic"], "magic"),
        (["--engine", "steam"], "steam"),
        (["--direction", "sideways"], "sideways"),
        (["--threads", "0"], "0 is not in 1..=1024"),
        (["--batch", "0"], "0 is not in"),
        (["--budget", "-1"], "-1"),
        (["--budget", "nan"], "outside 0..=86400"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
            .arg("bench")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(message),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_cannot_be_planned_is_named_and_the_others_are_done() {
    let groups = r#"g3ic4ih9oc6kh3n"groups""#;
    // Every dimension fits the 32 bits of BLAS, the nine terabytes fit no memory.
    let huge = r#"mb1ic1048576oc1iw2147483kw1n"huge""#;
    let output = bench(&[
        "--problem",
        groups,
        "--problem",
        huge,
        "--problem",
        NAMED,
        "--json",
        "-",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("groups: 3 groups do not divide 4 input channels"),
        "{message}"
    );
    assert!(
        message.contains("huge") && message.contains("memory budget"),
        "{message}"
    );
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 1);
    assert!(out.contains("named*3"));

    let output = bench(&[
        "--problem",
        "mb1ic64ih256oc64kh3n\"16 MiB\"",
        "--memory",
        "20",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("16 MiB"),
        "{}",
        text(&output.stderr)
    );
    assert!(text(&output.stderr).contains("memory budget is 20971520"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
        .args([
            "bench",
            "--budget",
            "0",
            "--problem",
            PLAIN,
            "--problem",
            NAMED,
            "--json",
            "-",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let message = text(&output.stderr);
    assert!(
        !message.contains("error") && !message.contains("panicked"),
        "{message}"
    );
}

#[test]
fn a_reader_that_leaves_early_takes_no_file_and_no_failure_along() {
    let folder = tempfile::tempdir().unwrap();
    let (json, svg) = (folder.path().join("j.json"), folder.path().join("s.svg"));
    let closed = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
            .args(["bench", "--budget", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap()
    };
    let (j, s) = (json.to_str().unwrap(), svg.to_str().unwrap());
    let problems = ["--problem", PLAIN, "--problem", NAMED];
    let output = closed(&[&problems[..], &["--json", j, "--svg", s]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(&json).unwrap();
    assert_eq!(lines.lines().count(), 4);
    assert!(std::fs::read_to_string(&svg).unwrap().contains("named*3"));

    let broken = ["--problem", "g3ic4ih9oc6kh3n\"groups\"", "--json"];
    let output = closed(&[&broken[..], &[j, "--problem", PLAIN]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("groups: 3 groups"));
    // Without a file nothing more is measured; what failed before is said all the same.
    let output = closed(&[&broken[..], &["-", "--problem", PLAIN]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("groups: 3 groups"));
}

#[test]
fn help_shows_examples() {
    let output = bench(&["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for word in [
        "Examples:",
        "--suite",
        "resnet50",
        "--check",
        "largest |difference|",
        "Exit status",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for recipe in gemmconv::RecipeKind::ALL {
        assert!(help.contains(&recipe.to_string()), "{recipe}: {help}");
    }
    assert!(help.contains("matrixmultiply"), "{help}");
}
