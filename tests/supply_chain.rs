//! What comes into the build from outside: the essentials of `deny.toml` without cargo-deny, the notes on what runs
//! while building, and the bill of materials.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

#[expect(dead_code, reason = "its main is not needed here")]
#[path = "../examples/sbom.rs"]
mod sbom;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn file(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The texts in quotes in the list `key` of deny.toml.
fn listed(key: &str) -> Vec<String> {
    let text = file("deny.toml");
    let (_, list) = text.split_once(&format!("\n{key} = [")).unwrap_or_else(|| panic!("deny.toml has no {key}"));
    let lines = list.split("\n]").next().unwrap().lines();
    let quoted = lines.filter_map(|line| line.split('#').next()?.split('"').nth(1));
    quoted.map(str::to_owned).collect()
}

/// Every package that a build of ours or of our tests uses, and its licence.
fn used() -> Vec<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"]);
    cargo.args(["--target", TARGET, "--format", "{p}|{l}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let split = |line: &&str| {
        let (package, license) = line.split_once('|')?;
        Some((package.split(' ').next()?.to_owned(), license.to_owned()))
    };
    let used: Vec<_> = lines.iter().filter_map(split).collect();
    assert!(used.len() > 100, "cargo tree names too little: {used:?}");
    used
}

/// Whether an SPDX expression can be met with these licences alone.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    /// `OR` binds less than `AND`, and a group is whatever its parentheses hold.
    fn any(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &[String]) -> bool {
        let mut met = all(words, allowed);
        while words.next_if(|word| word == "OR").is_some() {
            met |= all(words, allowed);
        }
        met
    }
    fn all(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &[String]) -> bool {
        let mut met = one(words, allowed);
        while words.next_if(|word| word == "AND").is_some() {
            met &= one(words, allowed);
        }
        met
    }
    fn one(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &[String]) -> bool {
        let Some(mut license) = words.next() else { return false };
        if license == "(" {
            let met = any(words, allowed);
            return words.next().is_some_and(|word| word == ")") && met;
        }
        if words.next_if(|word| word == "WITH").is_some() {
            license = format!("{license} WITH {}", words.next().unwrap_or_default());
        }
        allowed.contains(&license)
    }
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    let mut words = words.into_iter().peekable();
    any(&mut words, allowed) && words.next().is_none()
}

#[test]
fn an_expression_is_met_by_what_is_allowed_and_by_nothing_else() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for met in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "ISC AND (GPL-3.0 OR MIT)", "Apache-2.0 WITH LLVM-exception"] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-3.0 OR Apache-2.0)", "MIT WITH x", "(MIT", "MIT MIT"]
    {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn every_package_has_a_licence_that_deny_toml_allows() {
    let allowed = listed("allow");
    let unmet: Vec<_> = used().into_iter().filter(|(_, license)| !is_met(license, &allowed)).collect();
    assert!(unmet.is_empty(), "no licence of these is in deny.toml: {unmet:?}");
}

#[test]
fn no_package_is_one_that_deny_toml_bans() {
    let banned = listed("deny");
    assert!(banned.contains(&"openssl-sys".to_owned()) && banned.contains(&"ring".to_owned()));
    let found: Vec<_> = used().into_iter().filter(|(name, _)| banned.contains(name)).collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
}

#[test]
fn everything_comes_from_the_registry_with_a_checksum() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = file(lock);
        for package in text.split("[[package]]").skip(1) {
            let ours = package.contains("\nname = \"rollbackd");
            assert_eq!(!ours, package.contains(&format!("\nsource = \"{REGISTRY}\"\n")), "{lock}: {package}");
            assert_eq!(!ours, package.contains("\nchecksum = \""), "{lock}: {package}");
        }
    }
}

fn metadata() -> Value {
    sbom::metadata(TARGET).unwrap()
}

fn of_ours(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().unwrap().iter().filter(|package| package["source"].is_null())
}

#[test]
fn no_dependency_of_ours_takes_any_version() {
    let metadata = metadata();
    for package in of_ours(&metadata) {
        for dependency in package["dependencies"].as_array().unwrap() {
            let of_registry = !dependency["source"].is_null();
            assert!(!of_registry || dependency["req"] != "*", "{}: {dependency}", package["name"]);
        }
    }
}

#[test]
fn every_crate_root_of_ours_forbids_unsafe_code() {
    let metadata = metadata();
    let mut roots = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/src/lib.rs").to_owned()];
    for target in of_ours(&metadata).flat_map(|package| package["targets"].as_array().unwrap()) {
        // Tests are no part of what runs elsewhere; the workspace's lint holds for them all the same.
        if target["kind"][0] != "test" && target["kind"][0] != "bench" {
            roots.push(target["src_path"].as_str().unwrap().to_owned());
        }
    }
    assert!(roots.len() >= 5, "{roots:?}");
    for root in roots {
        let text = fs::read_to_string(&root).unwrap();
        assert!(text.contains("\n#![forbid(unsafe_code)]\n"), "{root} does not say #![forbid(unsafe_code)]");
    }
}

#[test]
fn what_runs_while_building_is_noted_and_nothing_else_is() {
    let built = sbom::built(TARGET).unwrap();
    let metadata = metadata();
    let mut runs = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let key = (package["name"].as_str().unwrap().to_owned(), package["version"].as_str().unwrap().to_owned());
        let kinds = package["targets"].as_array().unwrap().iter().map(|target| target["kind"][0].as_str().unwrap());
        if built.contains(&key) && kinds.into_iter().any(|kind| matches!(kind, "custom-build" | "proc-macro")) {
            runs.insert(key.0);
        }
    }
    let text = file("docs/supply-chain.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let noted: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let (missing, gone): (Vec<_>, Vec<_>) = (runs.difference(&noted).collect(), noted.difference(&runs).collect());
    assert!(missing.is_empty(), "look at these, and note them in docs/supply-chain.md: {missing:?}");
    assert!(gone.is_empty(), "docs/supply-chain.md notes what no build runs: {gone:?}");
}

#[test]
fn the_bill_of_materials_names_every_package_of_the_binary_once_with_its_hash_and_licence() {
    let built = sbom::built(TARGET).unwrap();
    let document = sbom::document(&metadata(), &built, &sbom::checksums(&file("Cargo.lock")));
    assert_eq!(document["metadata"]["component"]["name"], "rollbackd");
    let components = document["components"].as_array().unwrap();
    // All that is built but the binary itself, and SQLite.
    assert_eq!(components.len(), built.len());
    let mut references = BTreeSet::from(["pkg:cargo/rollbackd@".to_owned() + env!("CARGO_PKG_VERSION")]);
    for component in components {
        assert!(references.insert(component["bom-ref"].as_str().unwrap().to_owned()), "{component} stands there twice");
        assert_eq!(component["bom-ref"], component["purl"]);
        assert!(component["licenses"][0].is_object(), "{component} has no licence");
        let foreign = component["name"] != "rollbackd-core" && component["name"] != "sqlite";
        let hash = component["hashes"][0]["content"].as_str().unwrap_or_default();
        assert_eq!(foreign, hash.len() == 64, "{component}");
    }
    assert!(components.iter().any(|each| each["name"] == "sqlite" && each["version"] == rusqlite::version()));
    for dependency in document["dependencies"].as_array().unwrap() {
        let all = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
        for each in all {
            assert!(references.contains(each.as_str().unwrap()), "{each} is no component");
        }
    }
    assert_eq!(document["dependencies"].as_array().unwrap().len(), built.len());
}
