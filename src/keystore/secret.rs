//! The text of an API key. It is shown once, when it is made; what is kept is its SHA-256.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::model::intent::Sha256;
use crate::token::keys::KeyError;

use super::KeystoreError;
use super::agents::Role;

/// Longest text that is taken for an API key and hashed.
pub const SECRET_MAX: usize = 128;

/// An API key in the clear: `permyx_<role>_<43 characters of base64url>`. It prints nowhere.
pub struct Secret(String);

impl Secret {
    /// A new one, with 256 random bits.
    pub(super) fn random(role: Role) -> Result<Self, KeystoreError> {
        Ok(Self(format!("permyx_{role}_{}", URL_SAFE_NO_PAD.encode(random::<32>()?))))
    }

    /// A text that stands in a manual or a demo. It must have the form of its role.
    pub(super) fn fixed(text: &str, role: Role) -> Result<Self, KeystoreError> {
        let rest = text.strip_prefix("permyx_").and_then(|rest| rest.strip_prefix(role.as_str()));
        let secret = rest.and_then(|rest| rest.strip_prefix('_')).filter(|secret| !secret.is_empty());
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        match secret {
            Some(secret) if text.len() <= SECRET_MAX && secret.bytes().all(legal) => Ok(Self(text.to_owned())),
            _ => Err(KeystoreError::NotASecret),
        }
    }

    /// The text, to be shown to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// SHA-256 of an API key. Comparing two takes the same time wherever they differ.
#[derive(Clone, Copy)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(super) fn of(text: &str) -> Self {
        Self(*Sha256::of(text.as_bytes()).as_bytes())
    }

    /// Reads 64 lower-case hex digits.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let mut value = [0; 32];
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != value.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in value.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(value))
    }

    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Where to look for it. The first bytes of a hash tell an onlooker nothing about the key.
    pub(super) fn bucket(&self) -> u64 {
        self.0.iter().take(8).fold(0, |bucket, byte| bucket << 8 | u64::from(*byte))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], KeystoreError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeystoreError::NotMade(KeyError::NotMade))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_its_role_and_256_bits() {
        let secret = Secret::random(Role::Merchant).unwrap();
        let random = secret.reveal().strip_prefix("permyx_merchant_").unwrap();
        assert_eq!((random.len(), URL_SAFE_NO_PAD.decode(random).unwrap().len()), (43, 32));
        assert!(!format!("{secret:?}").contains(random));
    }

    #[test]
    fn a_fixed_secret_keeps_the_form_of_its_role() {
        assert!(Secret::fixed("permyx_agent_YOUR_KEY", Role::Agent).is_ok());
        let long = format!("permyx_agent_{}", "a".repeat(SECRET_MAX));
        for bad in ["", "permyx_agent_", "permyx_agent", "permyx_operator_a", "permyx_agent_a b", &long] {
            assert!(Secret::fixed(bad, Role::Agent).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hash_reads_back_and_has_one_spelling() {
        let hash = SecretHash::of("a");
        assert!(SecretHash::parse(&hash.hex()).unwrap().is(&hash));
        assert!(!SecretHash::of("b").is(&hash));
        for bad in [hash.hex().to_uppercase(), hash.hex().split_off(1), format!("{}0", hash.hex()), "ä".repeat(32)] {
            assert!(SecretHash::parse(&bad).is_none(), "{bad}");
        }
    }
}
