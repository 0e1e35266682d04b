//! References to container images, and the versions in them.
//!
//! Never asks a registry: a tag is what the platform says it is.
//!
//! Source: the grammar of references in distribution/reference (`name[:tag][@digest]`).

/// Whether an image is of this version: its tag, its digest, or written in full.
pub(crate) fn is_version(image: &str, version: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    // A colon before the last slash is that of a registry's port.
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    tag == Some(version) || digest == Some(version) || image == version || name == version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_of_a_version_by_its_tag_its_digest_or_in_full() {
        for (image, version) in [
            ("shop:v41", "v41"),
            ("registry:5000/acme/shop:v41", "v41"),
            ("registry/shop:v41@sha256:ab", "v41"),
            ("registry/shop@sha256:ab", "sha256:ab"),
            ("registry/shop:v41@sha256:ab", "registry/shop:v41"),
            ("registry/shop:v41", "registry/shop:v41"),
        ] {
            assert!(is_version(image, version), "{image} {version}");
        }
        for (image, version) in [
            ("shop:v410", "v41"),
            ("shop", "v41"),
            ("registry:v41/shop", "v41"),
            ("v41/shop:v42", "v41"),
            ("shop:v4", "v41"),
            ("shop:v41-debug", "v41"),
        ] {
            assert!(!is_version(image, version), "{image} {version}");
        }
    }
}
