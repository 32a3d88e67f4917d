//! Identifiers. Each is bounded and has a closed alphabet, so none can break out of a hash input,
//! a ledger key, a log line or a path.

use std::fmt;
use std::sync::Arc;

use uuid::{Uuid, Variant};

use super::spell::{Spelled, spelled};

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {0} characters")]
    TooLong(usize),
    #[error("may hold only letters, digits and `. _ : / -`")]
    Alphabet,
}

/// contract.md: 1–128 characters of `[A-Za-z0-9._:/-]`. `|` is never legal: the hashes join with it.
pub const ID_MAX: usize = 128;

fn checked(text: &str) -> Result<(), NotAnId> {
    if text.is_empty() {
        return Err(NotAnId::Empty);
    }
    if text.len() > ID_MAX {
        return Err(NotAnId::TooLong(ID_MAX));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-');
    if text.bytes().all(legal) { Ok(()) } else { Err(NotAnId::Alphabet) }
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that keeps the alphabet and the length of [`ID_MAX`].
            pub fn parse(text: &str) -> Result<Self, NotAnId> {
                checked(text).map(|()| Self(Arc::from(text)))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

opaque_id!(
    /// A merchant's store.
    StoreId
);
opaque_id!(
    /// A sellable variant, as the token names it (`shopify:variant:123456`).
    VariantId
);
opaque_id!(
    /// `permyxProductId` of the published API; carried in the additive claim `pid`.
    ProductId
);
opaque_id!(
    /// The id of an API key (`ak_…`): the `sub` of a token. Never the key itself.
    AgentId
);
opaque_id!(
    /// The `kid` of a signing key.
    KeyId
);
opaque_id!(
    /// A merchant's order id or checkout session id, after it was cut to the alphabet.
    OrderId
);

/// A key is looked up by the text that a token names.
impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The `jti` of a token: a canonical, lower-case UUID v4. Only this form may become a ledger key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jti(Uuid);

impl Jti {
    /// A fresh random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// As it is written.
    #[must_use]
    pub fn spelled(self) -> Spelled<36> {
        Spelled::of("").uuid(self.0)
    }

    /// Accepts exactly one spelling, so that one token has one key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        let canonical = id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
        let v4 = id.get_version_num() == 4 && id.get_variant() == Variant::RFC4122;
        (canonical && v4).then_some(Self(id))
    }

    /// What an event about this token names as its subject.
    #[must_use]
    pub fn subject(self) -> Spelled<40> {
        Spelled::of("jti/").uuid(self.0)
    }

    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

/// `trc_…`, new for every call (contract.md).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(Uuid);

impl TraceId {
    /// A fresh id. Time-ordered (UUID v7), so that traces sort as they happened.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// As it is written.
    #[must_use]
    pub fn spelled(self) -> Spelled<36> {
        Spelled::of("trc_").text(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("trc_").filter(|hex| hex.len() == 32)?;
        Uuid::try_parse(hex).ok().map(Self)
    }

    /// The id of the execution that this call opens when no token names one.
    #[must_use]
    pub fn correlation(self) -> Correlation {
        Correlation(self.0)
    }
}

/// `exec_…`: joins the calls of one execution. It is the jti where there is a verified token and
/// the trace where there is none, so an unverified token never joins anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Correlation(Uuid);

impl Correlation {
    /// As it is written.
    #[must_use]
    pub fn spelled(self) -> Spelled<41> {
        Spelled::of("exec_").uuid(self.0)
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text.strip_prefix("exec_")?).ok().map(Self)
    }
}

impl From<Jti> for Correlation {
    fn from(jti: Jti) -> Self {
        Self(jti.0)
    }
}

spelled!(Jti, TraceId, Correlation);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_alphabet_and_its_length() {
        assert!(StoreId::parse("store-123").is_ok());
        assert!(VariantId::parse("shopify:variant:123456").is_ok());
        assert_eq!(StoreId::parse(""), Err(NotAnId::Empty));
        assert_eq!(StoreId::parse(&"a".repeat(129)), Err(NotAnId::TooLong(128)));
        for bad in ["a|b", "a b", "a\nb", "ä", "a\0", "{a}", "a*"] {
            assert_eq!(StoreId::parse(bad), Err(NotAnId::Alphabet), "{bad:?}");
        }
    }

    #[test]
    fn a_jti_has_one_spelling() {
        let jti = Jti::random();
        assert_eq!(Jti::parse(&jti.to_string()), Some(jti));
        for bad in [
            "",
            "*",
            "5B0E8A0E-3C58-4F6E-9A41-0C2D0A9B7E11",
            "5b0e8a0e3c584f6e9a410c2d0a9b7e11",
            "{5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11}",
            "5b0e8a0e-3c58-1f6e-9a41-0c2d0a9b7e11",
            "5b0e8a0e-3c58-4f6e-1a41-0c2d0a9b7e11",
            "5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11\n",
        ] {
            assert_eq!(Jti::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_trace_reads_back() {
        let trace = TraceId::random();
        assert_eq!(TraceId::parse(&trace.to_string()), Some(trace));
    }
}
