//! Where requests go: a URL of the config, or one in a file where the URL itself is a secret.
//!
//! Never shows more of a URL than the server's name.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Fields, Problems};
use secrecy::ExposeSecret;

use super::{Endpoint, Error, secret};

/// An address, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// It stands in the config.
    Url(Endpoint),
    /// It stands in this file, which is read at each request.
    UrlFile(PathBuf),
}

impl To {
    /// Reads `url` or `url_file` out of a mapping that may have more keys, which are its caller's.
    pub fn decode(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        match (fields.optional("url"), fields.optional("url_file")) {
            (Some(url), None) => Endpoint::decode(url, problems).map(Self::Url),
            (None, Some(file)) => node::text(file, problems).map(|file| Self::UrlFile(PathBuf::from(file))),
            (Some(_), Some(_)) | (None, None) => {
                problems.error(fields.place, format!("expected {} to have a `url` or a `url_file`", fields.what()));
                None
            }
        }
    }

    /// Reads `url_file` alone: for services in which whoever knows the URL may post.
    pub fn decode_secret(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        if fields.optional("url").is_some() {
            let message = format!("the URL of {} is a secret: write it to a file that `url_file` names", fields.what());
            problems.error_about_secret(fields.value_place("url"), message);
            fields.optional("url_file");
            return None;
        }
        let file = fields.required("url_file", problems)?;
        node::text(file, problems).map(|file| Self::UrlFile(PathBuf::from(file)))
    }

    /// The address; a file is read now.
    ///
    /// # Errors
    /// The file can't be read, or holds no URL.
    pub async fn endpoint(&self) -> Result<Endpoint, Error> {
        match self {
            Self::Url(endpoint) => Ok(endpoint.clone()),
            Self::UrlFile(file) => Endpoint::parse(secret("URL file", file).await?.expose_secret()),
        }
    }
}
