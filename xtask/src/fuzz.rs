//! `cargo xtask fuzz`: one target after the other, with what people have.

use super::step_with;
use std::path::Path;
use std::process::Command;

pub const USAGE: &str = "\
cargo xtask fuzz [SECONDS] [TARGET...]
                           fuzz each target for so long (60 s; all targets); needs cargo-fuzz and a C++ compiler";

/// What fuzzing needs of the compiler is unstable: nightly has it, and any other gives it to who says this.
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

fn works(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// What is found beyond the fixed corpus goes to `fuzz/target/found`; an input that breaks a property is kept
/// in `fuzz/artifacts`, and ends the run.
pub fn run(root: &Path, args: &[&str]) -> Result<(), String> {
    let (seconds, only) = match args.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok() => (*first, rest),
        _ => ("60", args),
    };
    let folder = root.join("fuzz");
    let entries = std::fs::read_dir(folder.join("fuzz_targets"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some(path.file_stem()?.to_str()?.to_owned())
    });
    let mut all: Vec<String> = names.collect();
    all.sort();
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|one| one == *name)) {
        return Err(format!(
            "no target {unknown}; there are: {}",
            all.join(", ")
        ));
    }
    let targets = all
        .iter()
        .filter(|name| only.is_empty() || only.contains(&name.as_str()));
    if !works("cargo", &["fuzz", "--version"]) {
        return Err("cargo-fuzz is not here: cargo install cargo-fuzz".to_owned());
    }
    if !works("c++", &["--version"]) {
        return Err(
            "no C++ compiler: libFuzzer is built with one (package g++ or clang)".to_owned(),
        );
    }
    let nightly = works("cargo", &["+nightly", "--version"]);
    let unstable = (!nightly).then_some(UNSTABLE);
    println!(
        "with {}",
        if nightly {
            "nightly"
        } else {
            "the usual compiler, told to allow what is unstable"
        }
    );
    for target in targets {
        let found = format!("fuzz/target/found/{target}");
        std::fs::create_dir_all(root.join(&found)).map_err(|error| format!("{found}: {error}"))?;
        let corpus = format!("fuzz/corpus/{target}");
        let time = format!("-max_total_time={seconds}");
        // Safe code gains nothing from the address sanitizer, and is twice as fast without.
        let mut args = vec![
            "fuzz",
            "run",
            "--sanitizer",
            "none",
            target,
            &found,
            &corpus,
        ];
        args.extend(["--", &time, "-timeout=60", "-print_final_stats=1"]);
        if nightly {
            args.insert(0, "+nightly");
        }
        step_with("cargo", &args, unstable)?;
    }
    Ok(())
}
