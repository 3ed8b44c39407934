//! Checks about the code itself.
//!
//! `cargo xtask tidy` runs the rules of the house that a compiler does not know; `cargo xtask test` is
//! all that has to pass before a change goes in, in the order in which a mistake is cheapest to find.

// Nothing of a program is reachable from outside; `pub` says "for the other modules".
#![allow(unreachable_pub)]

mod deny;
mod fuzz;
mod hostile;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask tidy           check the rules of the house (see ARCHITECTURE.md)
cargo xtask test           all that must pass: foreign clients installed, format, lints, tidy, tests, doc tests
cargo xtask test --quick   the same without the foreign clients and the long tests
cargo xtask deny           licences, sources and advisories of dependencies; needs cargo-deny";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["tidy"] => run_tidy(),
        ["test"] => run_tests(false),
        ["test", "--quick"] => run_tests(true),
        ["torture", options @ ..] => torture::run(&root(), options),
        ["fuzz", rest @ ..] => fuzz::run(&root(), rest),
        ["hostile", options @ ..] => hostile::run(options),
        ["deny"] => deny::run(),
        _ => {
            eprintln!("{USAGE}");
            for usage in [fuzz::USAGE, torture::USAGE, hostile::USAGE] {
                eprintln!("{usage}");
            }
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

/// Runs one command in the workspace's folder, showing what it says.
fn step(program: &str, args: &[&str]) -> Result<(), String> {
    step_with(program, args, None)
}

/// The same with one more variable in its environment.
fn step_with(program: &str, args: &[&str], variable: Option<(&str, &str)>) -> Result<(), String> {
    println!("== {program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .envs(variable)
        .current_dir(root())
        .status()
        .map_err(|err| format!("cannot run {program}: {err}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("failed: {program} {}", args.join(" ")))
    }
}
