//! Signing keys, and the ring of keys that a verifier trusts. A key is parsed once, when it is
//! loaded; nothing parses one again for a token.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse, RSAKeyParameters,
    RSAKeyType, ThumbprintHash,
};

/// Most keys that a set may hold; a longer set is cut and the rest refused.
pub const KEYS_MAX: usize = 64;
/// Longest `kid` that is looked up.
pub const KID_MAX: usize = 128;

/// Why a key cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is not a PEM file with one PKCS#8 private key")]
    NotPkcs8,
    #[error("is not an RSA key of 2048 to 8192 bits")]
    NotRsa,
    #[error("has no `kid`, or one of more than {KID_MAX} characters")]
    NoKid,
    #[error("`alg` is not RS256")]
    NotRs256,
    #[error("`use` or `key_ops` does not allow verification")]
    NotForVerifying,
    #[error("has an exponent other than 65537")]
    WeakExponent,
    #[error("has the `kid` of a key before it")]
    DuplicateKid,
    #[error("is beyond the {KEYS_MAX} keys that a set may hold")]
    TooMany,
    #[error("could not be made")]
    NotMade,
}

/// A private key that signs execution tokens.
pub struct SigningKey {
    pair: RsaKeyPair,
    public: Jwk,
    kid: String,
}

impl SigningKey {
    /// Makes a 2048-bit key.
    pub fn generate() -> Result<Self, KeyError> {
        RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::NotMade).and_then(Self::of_pair)
    }

    /// Reads a PKCS#8 PEM file.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::NotPkcs8)?;
        let pair = RsaKeyPair::from_pkcs8(block.contents()).map_err(|_| KeyError::NotRsa)?;
        Self::of_pair(pair)
    }

    /// The private key as PKCS#8 PEM. A secret: it goes to a file of mode 0600 and nowhere else.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der = self.pair.as_der().map_err(|_| KeyError::NotMade)?;
        Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())))
    }

    fn of_pair(pair: RsaKeyPair) -> Result<Self, KeyError> {
        let public = {
            use aws_lc_rs::signature::KeyPair;
            let key = pair.public_key();
            public_jwk(
                key.modulus().big_endian_without_leading_zero(),
                key.exponent().big_endian_without_leading_zero(),
            )
        };
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::NotRsa)?;
        let common = CommonParameters { key_id: Some(kid.clone()), ..public.common };
        Ok(Self { pair, public: Jwk { common, ..public }, kid })
    }

    /// RFC 7638 thumbprint of the public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, as the key set publishes it.
    #[must_use]
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&signature::RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::NotMade)?;
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

fn public_jwk(modulus: &[u8], exponent: &[u8]) -> Jwk {
    Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(KeyAlgorithm::RS256),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::RSA(RSAKeyParameters {
            key_type: RSAKeyType::RSA,
            n: URL_SAFE_NO_PAD.encode(modulus),
            e: URL_SAFE_NO_PAD.encode(exponent),
        }),
    }
}

/// The published key set (RFC 7517) of these keys.
#[must_use]
pub fn key_set<'a>(keys: impl IntoIterator<Item = &'a Jwk>) -> JwkSet {
    JwkSet { keys: keys.into_iter().cloned().collect() }
}

/// One trusted public key.
pub struct VerifyingKey {
    kid: Arc<str>,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty() && kid.len() <= KID_MAX);
        let kid = kid.ok_or(KeyError::NoKid)?;
        if jwk.common.key_algorithm != Some(KeyAlgorithm::RS256) {
            return Err(KeyError::NotRs256);
        }
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let operations = jwk.common.key_operations.as_ref();
        if !signs || operations.is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
            return Err(KeyError::NotForVerifying);
        }
        let AlgorithmParameters::RSA(rsa) = &jwk.algorithm else { return Err(KeyError::NotRsa) };
        let n = URL_SAFE_NO_PAD.decode(&rsa.n).map_err(|_| KeyError::NotRsa)?;
        let e = URL_SAFE_NO_PAD.decode(&rsa.e).map_err(|_| KeyError::NotRsa)?;
        if e != [1, 0, 1] {
            return Err(KeyError::WeakExponent);
        }
        // The library checks the size only when it verifies; a weak key shall not get that far.
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if n.first() == Some(&0) || !(2048..=8192).contains(&bits) {
            return Err(KeyError::NotRsa);
        }
        let key = PublicKeyComponents { n: &n, e: &e }
            .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| KeyError::NotRsa)?;
        Ok(Self { kid: kid.into(), key })
    }

    /// True when `signature` is this key's RS256 signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }

    #[must_use]
    pub fn kid(&self) -> &Arc<str> {
        &self.kid
    }
}

/// The keys that are trusted here, by `kid`. An immutable snapshot: a change makes a new ring.
#[derive(Default)]
pub struct KeyRing {
    keys: Vec<VerifyingKey>,
}

impl KeyRing {
    /// Takes the usable keys of a set and names the others with the reason.
    #[must_use]
    pub fn of_set(set: &JwkSet) -> (Self, Vec<(String, KeyError)>) {
        let mut ring = Self::default();
        let mut refused = Vec::new();
        for jwk in &set.keys {
            let usable = VerifyingKey::from_jwk(jwk).and_then(|key| match ring.find(&key.kid) {
                Some(_) => Err(KeyError::DuplicateKid),
                None if ring.keys.len() == KEYS_MAX => Err(KeyError::TooMany),
                None => Ok(key),
            });
            match usable {
                Ok(key) => ring.keys.push(key),
                Err(why) => refused.push((name_of(jwk), why)),
            }
        }
        (ring, refused)
    }

    /// The key with exactly this `kid`.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| *key.kid == *kid)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &*key.kid)
    }
}

fn name_of(jwk: &Jwk) -> String {
    let kid = jwk.common.key_id.as_deref().unwrap_or("(no kid)");
    kid.chars().take(KID_MAX).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_file() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(key.kid(), again.kid());
        let (ring, refused) = KeyRing::of_set(&key_set([again.public()]));
        assert!(refused.is_empty());
        let signature = key.sign(b"message").unwrap();
        assert!(ring.find(key.kid()).unwrap().verifies(b"message", &signature));
        assert!(!ring.find(key.kid()).unwrap().verifies(b"massage", &signature));
    }

    #[test]
    fn a_set_keeps_the_good_keys_and_names_the_others() {
        let good = SigningKey::generate().unwrap();
        let with = |change: fn(&mut Jwk)| {
            let mut jwk = good.public().clone();
            jwk.common.key_id = Some("other".to_owned());
            change(&mut jwk);
            jwk
        };
        let set = key_set(&[
            good.public().clone(),
            with(|jwk| jwk.common.key_algorithm = Some(KeyAlgorithm::RS512)),
            with(|jwk| jwk.common.public_key_use = Some(PublicKeyUse::Encryption)),
            with(|jwk| jwk.common.key_operations = Some(vec![KeyOperations::Sign])),
            with(|jwk| jwk.common.key_id = None),
            with(|jwk| jwk.algorithm = small_rsa("AQAB")),
            with(|jwk| jwk.algorithm = small_rsa("Aw")),
            good.public().clone(),
        ]);
        let (ring, refused) = KeyRing::of_set(&set);
        assert_eq!(ring.len(), 1);
        let reasons: Vec<_> = refused.into_iter().map(|(_, why)| why).collect();
        use KeyError::*;
        assert_eq!(reasons, [NotRs256, NotForVerifying, NotForVerifying, NoKid, NotRsa, WeakExponent, DuplicateKid]);
    }

    fn small_rsa(e: &str) -> AlgorithmParameters {
        let n = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        AlgorithmParameters::RSA(RSAKeyParameters { key_type: RSAKeyType::RSA, n, e: e.to_owned() })
    }
}
