//! The shared credentials file of AWS' tools: sections with static keys.
//!
//! Never runs a `credential_process` and never opens a browser for a single sign-on: a daemon can't answer either.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret;

use super::{Credentials, said};
use crate::http_client;

/// The section that is read where none is named.
pub(super) const DEFAULT_PROFILE: &str = "default";

/// The static credentials of a section; `None` where the file has no such section.
pub(super) async fn read(file: &Path, profile: &str) -> Result<Option<Credentials>, String> {
    let text = http_client::secret("AWS credentials file", file).await.map_err(|error| said(&error))?;
    let Some(keys) = section(text.expose_secret(), profile) else { return Ok(None) };
    let key = |name: &str| keys.get(name).copied().filter(|value| !value.is_empty());
    let (Some(key_id), Some(secret_key)) = (key("aws_access_key_id"), key("aws_secret_access_key")) else {
        let expected = "expected aws_access_key_id and aws_secret_access_key";
        return Err(format!("the profile {profile} of {} has no static keys: {expected}", file.display()));
    };
    let token = key("aws_session_token").map(str::to_owned);
    Ok(Some(Credentials::fixed(key_id, secret_key).with_token(token)))
}

/// Why there is no such section.
pub(super) fn no_profile(file: &Path, profile: &str) -> String {
    format!("the AWS credentials file {} has no section [{profile}]", file.display())
}

/// The keys of a section; the last one counts where a key stands twice.
fn section<'a>(text: &'a str, profile: &str) -> Option<BTreeMap<String, &'a str>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == profile;
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if let (true, Some(keys), Some((key, value))) = (inside, &mut found, line.split_once('=')) {
            keys.insert(key.trim().to_ascii_lowercase(), value.trim());
        }
    }
    found
}
