//! Checks about the code itself.
//!
//! `cargo xtask tidy` runs the rules of the house that a compiler does not know; `cargo xtask test` is
//! all that has to pass before a change goes in, in the order in which a mistake is cheapest to find.

// Nothing of a program is reachable from outside; `pub` says "for the other modules".
#![allow(unreachable_pub)]

mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask tidy           check the rules of the house (see ARCHITECTURE.md)
cargo xtask test           all that must pass: foreign clients installed, format, lints, tidy, tests, doc tests
cargo xtask test --quick   the same without the foreign clients and the long tests
cargo xtask fuzz [SECONDS] [TARGET...]
                           fuzz each target for so long (60 s; all targets); needs nightly and cargo-fuzz";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["tidy"] => run_tidy(),
        ["test"] => run_tests(false),
        ["test", "--quick"] => run_tests(true),
        ["torture", options @ ..] => torture::run(&root(), options),
        ["fuzz", rest @ ..] => run_fuzz(rest),
        _ => {
            eprintln!("{USAGE}\n{}", torture::USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn run_tidy() -> Result<(), String> {
    let findings = tidy::all(&root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => Err(format!("tidy: {n} to mend")),
    }
}

fn run_tests(quick: bool) -> Result<(), String> {
    if !quick {
        step("sh", &["scripts/test-tools.sh"])?;
    }
    step("cargo", &["fmt", "--all", "--check"])?;
    run_tidy()?;
    step(
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    let mut tests = vec![
        "test",
        "--workspace",
        "--bins",
        "--lib",
        "--tests",
        "--examples",
    ];
    if quick {
        tests.extend(["--", "--skip", "foreign", "--skip", "large"]);
    }
    step("cargo", &tests)?;
    step("cargo", &["test", "--workspace", "--doc"])?;
    println!("all checks passed");
    Ok(())
}

/// Fuzzes one target after the other. What is found beyond the fixed corpus goes to `fuzz/target/found`;
/// an input that breaks a property is kept in `fuzz/artifacts`, and ends the run.
fn run_fuzz(args: &[&str]) -> Result<(), String> {
    let (seconds, only) = match args.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok() => (*first, rest),
        _ => ("60", args),
    };
    let folder = root().join("fuzz");
    let entries = std::fs::read_dir(folder.join("fuzz_targets"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some(path.file_stem()?.to_str()?.to_owned())
    });
    let mut targets: Vec<String> = names
        .filter(|name| only.is_empty() || only.contains(&name.as_str()))
        .collect();
    targets.sort();
    if targets.is_empty() {
        return Err(format!("no such target in {}", folder.display()));
    }
    for target in targets {
        let found = format!("fuzz/target/found/{target}");
        std::fs::create_dir_all(root().join(&found))
            .map_err(|error| format!("{found}: {error}"))?;
        let corpus = format!("fuzz/corpus/{target}");
        let time = format!("-max_total_time={seconds}");
        // Safe code gains nothing from the address sanitizer, and is twice as fast without.
        step(
            "cargo",
            &[
                "+nightly",
                "fuzz",
                "run",
                "--sanitizer",
                "none",
                &target,
                &found,
                &corpus,
                "--",
                &time,
                "-timeout=20",
            ],
        )?;
    }
    Ok(())
}

/// Runs one command in the workspace's folder, showing what it says.
fn step(program: &str, args: &[&str]) -> Result<(), String> {
    println!("== {program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .current_dir(root())
        .status()
        .map_err(|err| format!("cannot run {program}: {err}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("failed: {program} {}", args.join(" ")))
    }
}
