//! Keys that sign notes (C2SP signed-note): Ed25519, each with a name that goes into its id.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::hash::Hash;

/// Longest name of a key, in bytes.
pub const NAME_MAX: usize = 200;
/// The signature type of Ed25519.
const ED25519_TYPE: u8 = 1;

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("is not a name: 1 to {NAME_MAX} bytes without spaces, control characters and `+`")]
    NotAName,
    #[error("is not a verifier key: its form is `name+id+base64`, and the id belongs to name and key")]
    NotAVerifierKey,
    #[error("is not an Ed25519 key")]
    NotEd25519,
    #[error("is not a PEM file with one PKCS#8 Ed25519 private key")]
    NotPkcs8,
    #[error("could not be made or used")]
    Failed,
}

/// The name of a key, and so of the log that it signs for: `shop.example/permyx/2026`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct KeyName(Arc<str>);

impl KeyName {
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        let fits = (1..=NAME_MAX).contains(&text.len()) && text.chars().all(legal);
        if fits { Ok(Self(text.into())) } else { Err(KeyError::NotAName) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a signature line says of its key. It finds the key and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyId([u8; 4]);

impl KeyId {
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// `SHA-256(name || 0x0A || type || public key)[:4]`.
    fn of(name: &KeyName, public: &[u8; 32]) -> Self {
        let hash = Hash::plain(&[name.as_str().as_bytes(), b"\n", &[ED25519_TYPE], public]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A public key under a name. It prints as what an auditor pins: `name+id+base64`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    public: [u8; 32],
}

impl VerifierKey {
    #[must_use]
    pub fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self { id: KeyId::of(&name, &public), name, public }
    }

    /// Reads exactly the printed form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::NotAVerifierKey);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::NotAVerifierKey)?;
        let [ED25519_TYPE, public @ ..] = key.as_slice() else { return Err(KeyError::NotEd25519) };
        let public = public.try_into().map_err(|_| KeyError::NotEd25519)?;
        let key = Self::new(KeyName::parse(name)?, public);
        if key.to_string() == text { Ok(key) } else { Err(KeyError::NotAVerifierKey) }
    }

    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// True when `signature` is this key's signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE], self.public.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, self.id)
    }
}

/// A private key. It has no name yet: the logs of several years are signed with one key, each under
/// its own name.
pub struct SecretKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl SecretKey {
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map_err(|_| KeyError::Failed).and_then(Self::of_pair)
    }

    /// Reads a PKCS#8 PEM file.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::NotPkcs8)?;
        Ed25519KeyPair::from_pkcs8(block.contents()).map_err(|_| KeyError::NotPkcs8).and_then(Self::of_pair)
    }

    /// The key as PKCS#8 PEM, as OpenSSL writes it. A secret: it goes to a file of mode 0600 and
    /// nowhere else.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::Failed)?;
        Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())))
    }

    /// The public half, as RFC 8032 encodes it.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    fn of_pair(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// A private key under a name.
#[derive(Clone, Debug)]
pub struct Signer {
    key: Arc<SecretKey>,
    verifier: VerifierKey,
}

impl Signer {
    #[must_use]
    pub fn new(name: KeyName, key: Arc<SecretKey>) -> Self {
        Self { verifier: VerifierKey::new(name, key.public), key }
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The Ed25519 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.key.pair.try_sign(message).map_err(|_| KeyError::Failed)?;
        Ok(signature.as_ref().to_vec())
    }
}
