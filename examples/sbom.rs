//! Writes the release's bill of materials (CycloneDX 1.5, JSON): what is linked into the binary or runs in its build.
//!
//! Never asks a registry: it tells what `Cargo.lock` and cargo itself say of this tree. `scripts/sbom` runs it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the document is what it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::Command;

use serde_json::{Value, json};

type Packages = BTreeSet<(String, String)>;

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args().nth(1).ok_or("expected a target such as x86_64-unknown-linux-gnu")?;
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"))?;
    let document = document(&metadata(&target)?, &built(&target)?, &checksums(&lock));
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        return Err(format!("cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What cargo knows of all packages that the lock file has for this target.
pub(crate) fn metadata(target: &str) -> Result<Value, Box<dyn Error>> {
    let text = cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", target])?;
    Ok(serde_json::from_str(&text)?)
}

/// The packages that a build of the binary uses: the metadata alone also names optional ones that nobody turned on.
pub(crate) fn built(target: &str) -> Result<Packages, Box<dyn Error>> {
    let arguments = ["tree", "--locked", "--package", "rollbackd", "--edges", "normal,build", "--prefix", "none"];
    let text = cargo(&[&arguments[..], &["--target", target, "--format", "{p}"]].concat())?;
    let package = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    Ok(text.lines().filter_map(package).collect())
}

/// The checksum of each package of a lock file that comes from the registry.
pub(crate) fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|each| Some(((value(each, "name")?, value(each, "version")?), value(each, "checksum")?)))
        .collect()
}

/// The document: the binary, every package in it or in its build, SQLite, and who needs whom.
pub(crate) fn document(metadata: &Value, built: &Packages, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut by_id = BTreeMap::new();
    let mut components = Vec::new();
    let mut own = Value::Null;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let key = (text(&package["name"]), text(&package["version"]));
        if !built.contains(&key) {
            continue;
        }
        by_id.insert(text(&package["id"]), reference(&key));
        let component = component(package, &key, checksums.get(&key));
        if key.0 == "rollbackd" { own = component } else { components.push(component) }
    }
    components.push(sqlite());
    let mut dependencies = Vec::new();
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let Some(reference) = by_id.get(&text(&node["id"])) else { continue };
        let used = |dependency: &&Value| {
            dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
        };
        let needed = node["deps"].as_array().into_iter().flatten().filter(used);
        let mut needed: BTreeSet<String> =
            needed.filter_map(|dependency| by_id.get(&text(&dependency["pkg"])).cloned()).collect();
        if reference.starts_with("pkg:cargo/libsqlite3-sys@") {
            needed.insert(text(&sqlite()["bom-ref"]));
        }
        dependencies.push(json!({"ref": reference, "dependsOn": needed}));
    }
    let by_reference = |value: &Value| value.get("bom-ref").or(value.get("ref")).map(text);
    components.sort_by_key(by_reference);
    dependencies.sort_by_key(by_reference);
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
        "dependencies": dependencies,
    })
}

fn reference((name, version): &(String, String)) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn component(package: &Value, key: &(String, String), checksum: Option<&String>) -> Value {
    let kind = if key.0 == "rollbackd" { "application" } else { "library" };
    let mut component = json!({
        "type": kind, "bom-ref": reference(key), "name": key.0, "version": key.1, "purl": reference(key),
    });
    if let Some(license) = package["license"].as_str() {
        // Older packages write `MIT/Apache-2.0`, which is no SPDX expression.
        let parts: Vec<&str> = license.split('/').map(str::trim).collect();
        component["licenses"] = json!([{"expression": parts.join(" OR ")}]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// The C library inside libsqlite3-sys, which no package manager of Rust's names.
fn sqlite() -> Value {
    let version = rusqlite::version();
    let reference = format!("pkg:generic/sqlite@{version}");
    json!({
        "type": "library", "bom-ref": reference, "name": "sqlite", "version": version, "purl": reference,
        "licenses": [{"license": {"id": "blessing"}}],
    })
}
