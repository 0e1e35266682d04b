//! Links that people may follow: they are shown, never called.

use reqwest::Url;

/// The longest link that is kept: what browsers and forges take.
const LONGEST_BYTES: usize = 2048;

/// The link in a text that came from outside, in its normal form.
///
/// # Errors
/// It is too long, no http or https URL, or holds a user name or password. What was expected.
pub fn checked(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_BYTES {
        return Err(format!("expected a URL of at most {LONGEST_BYTES} bytes, not {}", text.len()));
    }
    let url = Url::parse(text).map_err(|error| format!("expected an http or https URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("expected an http or https URL, not one of scheme {:?}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without user name and password: it is shown to people".to_owned());
    }
    Ok(url.into())
}
