//! The same TLS settings for what is not HTTP: they make a connector of rustls.
//!
//! Never trusts anybody whom the HTTP client would not trust with the same settings.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::{Error, Tls, read_pem};

/// What makes TLS connections with these settings. Reads the certificate files now, and blocks while it does.
///
/// # Errors
/// A certificate or key file can't be read or holds something else.
pub fn connector(tls: &Tls) -> Result<TlsConnector, Error> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(not_built)?.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier(tls, provider)?);
    let config = match (&tls.cert_file, &tls.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let (chain, key) = (certificates("certificate file", cert_file)?, private_key(key_file)?);
            builder.with_client_auth_cert(chain, key).map_err(not_built)?
        }
        (Some(_) | None, None) | (None, Some(_)) => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn verifier(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    if tls.insecure_skip_verify {
        return Ok(Arc::new(Anybody(provider)));
    }
    let Some(ca_file) = &tls.ca_file else {
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        return Ok(Arc::new(Verifier::new_with_extra_roots(public, provider).map_err(not_built)?));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA file", ca_file)? {
        roots.add(certificate).map_err(not_built)?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(not_built)
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read_pem(what, file)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(Error::Contents { what, file: file.to_owned(), expected: "certificates as PEM" }),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let (what, expected) = ("key file", "a private key as PEM");
    let key = PrivateKeyDer::from_pem_slice(&read_pem(what, file)?);
    key.map_err(|_| Error::Contents { what, file: file.to_owned(), expected })
}

fn not_built(error: impl std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

/// Takes any certificate, as `insecure_skip_verify` asks for; the server must still hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
