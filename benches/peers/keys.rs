//! The key that signs all tokens of a run, and its public half as each proxy wants it.

use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use permyx::token::keys::{SigningKey, key_set};
use tempfile::TempDir;

pub struct Keys {
    pub signing: SigningKey,
    pub jwks: String,
    /// The public half in a file.
    pub pem: PathBuf,
    _dir: TempDir,
}

impl Keys {
    pub fn generate() -> Self {
        let (dir, signing) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
        let private = pem::parse(signing.to_pem().unwrap()).unwrap();
        let pair = KeyPair::from_pkcs8(private.contents()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let path = dir.path().join("public.pem");
        std::fs::write(&path, pem::encode(&pem::Pem::new("PUBLIC KEY", public.as_ref()))).unwrap();
        let jwks = serde_json::to_string(&key_set([signing.public()])).unwrap();
        Self { signing, jwks, pem: path, _dir: dir }
    }
}
