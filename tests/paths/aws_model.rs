//! AWS' own service models, as botocore brings them: each request that a stand-in sees is checked against them.
//!
//! They come with moto (scripts/install-dependencies); without it nothing is checked here, and tests/paths/moto.rs fails.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Where scripts/install-dependencies puts moto and what it needs.
pub(crate) fn moto_home() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("moto")
}

/// A service's model, such as `ecs/2014-11-13`; `None` where moto is not installed.
pub(crate) fn load(service: &str) -> Option<Value> {
    let versions = std::fs::read_dir(moto_home().join("lib")).ok()?;
    let file = format!("site-packages/botocore/data/{service}/service-2.json.gz");
    let file = versions.flatten().map(|version| version.path().join(&file)).find(|file| file.exists())?;
    let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    assert!(unpacked.status.success());
    Some(serde_json::from_slice(&unpacked.stdout).unwrap())
}

/// That a request is one of the service: its operation, and each member's name, kind and presence.
pub(crate) fn check(model: &Value, target: &str, content_type: &str, body: &Value) {
    let metadata = &model["metadata"];
    assert_eq!(content_type, format!("application/x-amz-json-{}", metadata["jsonVersion"].as_str().unwrap()));
    let (prefix, operation) = target.rsplit_once('.').unwrap();
    assert_eq!(prefix, metadata["targetPrefix"]);
    let input = &model["operations"][operation]["input"]["shape"];
    conforms(model, input.as_str().unwrap_or_else(|| panic!("no operation {operation}")), body, operation);
}

fn conforms(model: &Value, shape: &str, value: &Value, place: &str) {
    let shape = &model["shapes"][shape];
    match shape["type"].as_str().unwrap() {
        "structure" => {
            let members = value.as_object().unwrap_or_else(|| panic!("{place}: no structure: {value}"));
            for required in shape["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(required.as_str().unwrap()), "{place}: no {required}");
            }
            for (name, member) in members {
                let known = shape["members"][name]["shape"].as_str();
                let known = known.unwrap_or_else(|| panic!("{place}: there is no member {name}"));
                conforms(model, known, member, &format!("{place}.{name}"));
            }
        }
        "list" => {
            for (index, item) in value.as_array().unwrap().iter().enumerate() {
                conforms(model, shape["member"]["shape"].as_str().unwrap(), item, &format!("{place}[{index}]"));
            }
        }
        "map" => assert!(value.is_object(), "{place}: {value}"),
        "string" => {
            let text = value.as_str().unwrap_or_else(|| panic!("{place}: no text: {value}"));
            if let Some(allowed) = shape["enum"].as_array() {
                assert!(allowed.iter().any(|each| each == text), "{place}: {text} is none of {allowed:?}");
            }
        }
        "integer" | "long" => assert!(value.is_i64() || value.is_u64(), "{place}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{place}: {value}"),
        "timestamp" | "double" | "float" => assert!(value.is_number(), "{place}: {value}"),
        other => panic!("{place}: {other} is not checked"),
    }
}
