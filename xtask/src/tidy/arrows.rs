//! Who may depend on whom, and on what from outside.

use super::Finding;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A crate, and the crates of the workspace that it may use.
const ARROWS: [(&str, &[&str]); 10] = [
    ("samara-proto", &[]),
    ("samara-engine", &["samara-proto"]),
    ("samara-tracker", &["samara-proto"]),
    ("samara-disk", &["samara-proto"]),
    (
        "samara-node",
        &["samara-engine", "samara-disk", "samara-proto"],
    ),
    (
        "samara-sim",
        &["samara-engine", "samara-tracker", "samara-proto"],
    ),
    // Of the engine only the types in node's interface: settings, phases, numbers.
    (
        "samara",
        &[
            "samara-node",
            "samara-engine",
            "samara-tracker",
            "samara-disk",
            "samara-proto",
        ],
    ),
    ("samara-load", &["samara-proto"]),
    (
        "samara-fuzz",
        &["samara-engine", "samara-tracker", "samara-proto"],
    ),
    ("xtask", &[]),
];

/// Crates that bring a clock, entropy, sockets, files or a runtime.
const EFFECTS: [&str; 16] = [
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "axum",
    "rustix",
    "libc",
    "nix",
    "rand",
    "getrandom",
    "fastrand",
    "chrono",
    "time",
];
/// Runtimes and sockets; files and system calls are what `disk` is for.
const NETWORK: [&str; 8] = [
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "axum",
];

/// What `cargo metadata` says about the members.
pub fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .map_err(|err| format!("cannot run cargo metadata: {err}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|err| format!("cargo metadata: {err}"))
}

pub fn check(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for package in list(metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(
                "Cargo.toml",
                0,
                format!("crate `{name}` has no row in the table of arrows"),
            ));
            continue;
        };
        for dependency in list(&package, "dependencies") {
            // Tests may use what they like.
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = ARROWS.iter().any(|(known, _)| *known == used);
            if ours && !allowed.contains(&used) {
                findings.push(Finding::new(
                    "Cargo.toml",
                    0,
                    format!("`{name}` may not depend on `{used}`"),
                ));
            }
            let banned: &[&str] = match name {
                "samara-proto" | "samara-engine" | "samara-sim" => &EFFECTS,
                "samara-disk" => &NETWORK,
                _ => &[],
            };
            if banned.contains(&used) {
                findings.push(Finding::new(
                    "Cargo.toml",
                    0,
                    format!("`{name}` may not touch what `{used}` brings"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(name: &str, dependencies: &Value) -> Vec<Finding> {
        check(&json!({ "packages": [{ "name": name, "dependencies": dependencies }] }))
    }

    #[test]
    fn arrows_that_are_not_drawn_are_found() {
        assert_eq!(
            with(
                "samara-engine",
                &json!([{ "name": "samara-disk", "kind": null }])
            )
            .len(),
            1
        );
        assert_eq!(
            with("samara-proto", &json!([{ "name": "tokio", "kind": null }])).len(),
            1
        );
        assert_eq!(
            with(
                "samara-disk",
                &json!([{ "name": "tokio", "kind": "build" }])
            )
            .len(),
            1
        );
        assert_eq!(with("samara-new", &json!([])).len(), 1);
        assert!(with("samara-disk", &json!([{ "name": "rustix", "kind": null }])).is_empty());
        assert!(with("samara-engine", &json!([{ "name": "samara-proto", "kind": null }, { "name": "samara-disk", "kind": "dev" }])).is_empty());
    }
}
