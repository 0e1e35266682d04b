//! Package URLs: `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS#SUBPATH`, as far as a version can stand in one.
//!
//! Never guesses at a text that is none.
//!
//! Source: package-url/purl-spec, "How to parse a purl string in its components", and its type `oci`.

/// What a purl says of the version, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Purl {
    /// What follows the `@`.
    pub(super) version: Option<String>,
    /// The qualifier `tag`.
    pub(super) tag: Option<String>,
}

impl Purl {
    /// Reads one.
    ///
    /// # Errors
    /// It is none. What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected `artifactId` as a purl, as in pkg:oci/NAME@sha256%3ADIGEST?tag=TAG".to_owned();
        let rest = text.split_once('#').map_or(text, |(rest, _)| rest);
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = rest.split_once(':').ok_or_else(expected)?;
        let (kind, path) = rest.trim_start_matches('/').split_once('/').ok_or_else(expected)?;
        // An `@` before the last slash belongs to a namespace that was not encoded.
        let last = path.rsplit('/').next().unwrap_or_default();
        let (name, version) = last.rsplit_once('@').map_or((last, None), |(name, version)| (name, Some(version)));
        if !scheme.eq_ignore_ascii_case("pkg") || kind.is_empty() || name.is_empty() {
            return Err(expected());
        }
        let version = version.filter(|version| !version.is_empty()).map(decoded).transpose()?;
        Ok(Self { version, tag: qualifier(qualifiers, "tag")? })
    }
}

/// The value of a qualifier. One that is there twice says nothing.
fn qualifier(qualifiers: &str, wanted: &str) -> Result<Option<String>, String> {
    let pairs = qualifiers.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, value)| key.eq_ignore_ascii_case(wanted) && !value.is_empty());
    let first = values.next().map(|(_, value)| decoded(value)).transpose()?;
    if values.next().is_some() {
        return Err(format!("the artifact's purl has the qualifier `{wanted}` twice"));
    }
    Ok(first)
}

/// A part without its percent-encoding.
fn decoded(part: &str) -> Result<String, String> {
    let broken = || "the artifact's purl has a broken percent-encoding".to_owned();
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or_else(broken)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(broken());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, Option<String>) {
        let purl = Purl::parse(text).unwrap();
        (purl.version, purl.tag)
    }

    #[test]
    fn the_version_and_the_tag_stand_where_the_specification_has_them() {
        let some = |text: &str| Some(text.to_owned());
        for (purl, version, tag) in [
            // Of the specification: its README, its type `oci`, and its test suite.
            (
                "pkg:oci/debian@sha256%3A244fd47e07d10?repository_url=docker.io/library/debian&arch=amd64&tag=latest",
                some("sha256:244fd47e07d10"),
                some("latest"),
            ),
            ("pkg:oci/hello-wasm@sha256:244fd47e07d10?tag=v1", some("sha256:244fd47e07d10"), some("v1")),
            ("pkg:docker/cassandra@latest", some("latest"), None),
            ("pkg:npm/%40angular/animation@12.3.1", some("12.3.1"), None),
            ("pkg:golang/google.golang.org/genproto#googleapis/api/annotations", None, None),
            ("pkg:GOLANG/google.golang.org/genproto@abcdedf#/googleapis/api/annotations/", some("abcdedf"), None),
            ("pkg://gem/jruby-launcher@1.1.2?Platform=java", some("1.1.2"), None),
            // And some that are written carelessly.
            ("pkg:npm/@acme/shop", None, None),
            ("pkg:oci/shop@?tag=", None, None),
            ("pkg:generic/shop@1.0%2Bbuild.7?TAG=a%26b", some("1.0+build.7"), some("a&b")),
        ] {
            assert_eq!(parsed(purl), (version, tag), "{purl}");
        }
    }

    #[test]
    fn what_is_no_purl_is_not_guessed_at() {
        for none in [
            "",
            "pkg:",
            "pkg:oci",
            "pkg:oci/",
            "pkg:oci/@v1",
            "pkg:/shop@v1",
            "docker.io/acme/shop:v1",
            "0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427",
            "https://acme/shop@v1",
            "pkg:oci/shop@%",
            "pkg:oci/shop@%4",
            "pkg:oci/shop@%+1",
            "pkg:oci/shop@%zz",
            "pkg:oci/shop@%ff",
            "pkg:oci/shop@v1?tag=a&tag=b",
        ] {
            assert!(Purl::parse(none).is_err(), "{none}");
        }
    }
}
