//! A claim that is signed with an RSA key, as platforms take it in exchange for a token (RFC 7519, RS256 of RFC 7518).
//!
//! Never shows the key, and never says of a key that can't be used more than that.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Signs these claims with the private key, which is PEM (PKCS#1 or PKCS#8). `key_id` is named in the header where the
/// platform knows several keys. An error says what is wrong with the key, without any of it.
pub(crate) fn sign(key: &SecretString, key_id: Option<&str>, claims: &Value) -> Result<SecretString, &'static str> {
    let key = rsa_key(key)?;
    let mut header = serde_json::json!({"alg": "RS256", "typ": "JWT"});
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "could not sign with the private key")?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn rsa_key(pem: &SecretString) -> Result<RsaKeyPair, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes());
    let parsed = match &key {
        Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        Ok(_) | Err(_) => return Err("expected an RSA private key as PEM"),
    };
    parsed.map_err(|_| "expected an RSA private key of 2048 bits or more")
}
