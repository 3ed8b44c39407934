//! In `engine`, rooms import the ground floor and `proto`, never each other; only the conductor
//! imports rooms.

use super::Finding;
use super::source::Source;
use std::collections::BTreeMap;

const ENGINE: &str = "crates/engine/src/";
/// What every room may use.
const GROUND_FLOOR: [&str; 6] = ["time", "rng", "fault", "io", "config", "collections"];
/// Who may use everything.
const CONDUCTORS: [&str; 3] = ["torrent", "lib", "fuzz"];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let engine: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with(ENGINE))
        .collect();
    let roots = engine
        .iter()
        .find(|source| source.path == format!("{ENGINE}lib.rs"))
        .map(|lib| reexports(lib))
        .unwrap_or_default();
    let mut findings = Vec::new();
    for source in engine {
        let room = room_of(&source.path);
        if CONDUCTORS.contains(&room) {
            continue;
        }
        for (offset, name) in imports(&source.code, "crate::") {
            let target = roots
                .get(name.as_str())
                .map_or(name.as_str(), String::as_str);
            let fine = target == room || GROUND_FLOOR.contains(&target);
            if !fine {
                let what = format!(
                    "room `{room}` uses `crate::{name}`; rooms use the ground floor only, the conductor joins them"
                );
                findings.push(Finding::new(&source.path, source.line_of(offset), what));
            }
        }
    }
    findings
}

/// `picker` for `crates/engine/src/picker/order.rs` and for `crates/engine/src/picker.rs`.
fn room_of(path: &str) -> &str {
    let below = path.strip_prefix(ENGINE).unwrap_or(path);
    let first = below.split('/').next().unwrap_or(below);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Names that lib.rs lifts to the root, with the room that they come from.
fn reexports(lib: &Source) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (at, _) in lib.code.match_indices("pub use ") {
        let rest = &lib.code[at + "pub use ".len()..];
        let Some(end) = rest.find(';') else { continue };
        let Some((room, list)) = rest[..end].split_once("::") else {
            continue;
        };
        let list = list.trim_matches(|c: char| c == '{' || c == '}' || c.is_whitespace());
        for name in list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let name = name.rsplit("::").next().unwrap_or(name);
            names.insert(name.to_owned(), room.trim().to_owned());
        }
    }
    names
}

/// The first component of every path that begins with `prefix`; of every branch of `crate::{a, b::c}`.
fn imports(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let after = at + prefix.len();
        let rest = &code[after..];
        if let Some(tree) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut fresh = true;
            for (offset, c) in tree.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    c if fresh && (c.is_alphabetic() || c == '_') => {
                        fresh = false;
                        found.push((after + 1 + offset, identifier(&tree[offset..])));
                    }
                    _ => {}
                }
            }
        } else {
            found.push((at, identifier(rest)));
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::source;
    use super::*;

    #[test]
    fn a_room_that_uses_another_is_found() {
        let lib = source(
            "crates/engine/src/lib.rs",
            "pub use fault::{PeerFault, Sanction};\npub use choker::Choker;\npub mod picker;",
        );
        for (text, wrong) in [
            ("use crate::choker::Choker;", 1),
            (
                "use crate::{time::Instant, choker::{Choker, Slot}, rng::Seed};",
                1,
            ),
            ("fn f() { crate::peer::x() }", 1),
            ("use crate::Choker;", 1),
            ("use crate::PeerFault;", 0),
            (
                "use crate::time::Instant;\nuse crate::picker::order::Order;\nuse samara_proto::Span;",
                0,
            ),
            ("// use crate::choker::Choker;", 0),
        ] {
            let room = source("crates/engine/src/picker/mod.rs", text);
            let lib = source(&lib.path, &lib.text);
            assert_eq!(check(&[lib, room]).len(), wrong, "{text}");
        }
        let conductor = source(
            "crates/engine/src/torrent/mod.rs",
            "use crate::choker::Choker;",
        );
        assert!(check(&[conductor]).is_empty());
    }
}
