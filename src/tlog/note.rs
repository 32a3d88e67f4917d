//! Signed notes (C2SP signed-note): a text, an empty line, and one line for each signature.
//!
//! A key may be known under several names and a text may carry signatures of keys that nobody here
//! knows: a witness, the next key of a rotation. Those are carried along and never believed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::{KeyError, KeyId, KeyName, Signer, VerifierKey};

/// Most signatures on a note; the specification asks for at least so many.
pub const SIGNATURES_MAX: usize = 16;
/// Longest note, in bytes: sixteen of the largest signatures that the specification knows of.
pub const NOTE_MAX: usize = 128 << 10;
/// What a line of a signature begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// Why a note is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    #[error("a signature in the name of `{0}` does not verify")]
    BadSignature(KeyName),
    #[error("no trusted key signed it")]
    NoTrustedSignature,
    #[error("it cannot be signed")]
    NotSigned(#[source] KeyError),
}

/// One signature, of a key that may be known or not.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    name: KeyName,
    id: KeyId,
    bytes: Vec<u8>,
}

/// A note as it was read: nothing of it is verified. It prints as the bytes that were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Signs a text, which ends with a newline, with each of the keys.
    pub fn sign(text: String, signers: &[Signer]) -> Result<Self, NoteError> {
        legal(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("its text does not end with a newline"));
        }
        if !(1..=SIGNATURES_MAX).contains(&signers.len()) {
            return Err(NoteError::Malformed("it needs 1 to 16 signatures"));
        }
        let sign = |signer: &Signer| {
            let bytes = signer.sign(text.as_bytes()).map_err(NoteError::NotSigned)?;
            Ok(Signature { name: signer.verifier().name().clone(), id: signer.verifier().id(), bytes })
        };
        let signatures = signers.iter().map(sign).collect::<Result<_, _>>()?;
        Ok(Self { text, signatures })
    }

    /// Reads a note, of which nothing is verified then.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX {
            return Err(NoteError::Malformed("it is longer than 128 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
        legal(note)?;
        // The last empty line parts them: the text may have empty lines of its own.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed("it has no empty line"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("it does not end with a newline"))?;
        if lines.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::Malformed("it has more than 16 signatures"));
        }
        let signatures = lines.split('\n').map(Signature::parse).collect::<Option<_>>();
        let signatures = signatures.ok_or(NoteError::Malformed("a line of a signature has another form"))?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text with its final newline. Not to be believed before [`Note::verify`].
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys of `known` that signed. Signatures of other keys are passed over, but one bad
    /// signature in the name of a known key spoils the note.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed = Vec::new();
        for signature in &self.signatures {
            let Some(key) = known.iter().find(|key| *key.name() == signature.name && key.id() == signature.id) else {
                continue;
            };
            if !key.verifies(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::BadSignature(signature.name.clone()));
            }
            if !signed.contains(&key) {
                signed.push(key);
            }
        }
        if signed.is_empty() { Err(NoteError::NoTrustedSignature) } else { Ok(signed) }
    }
}

impl Signature {
    /// Reads a line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
        let decoded = STANDARD.decode(signature).ok()?;
        let (id, bytes) = decoded.split_first_chunk().filter(|(_, bytes)| !bytes.is_empty())?;
        Some(Self { name: KeyName::parse(name).ok()?, id: KeyId::new(*id), bytes: bytes.to_vec() })
    }
}

fn legal(text: &str) -> Result<(), NoteError> {
    let control = text.bytes().any(|b| b < b' ' && b != b'\n');
    if control { Err(NoteError::Malformed("it has a control character")) } else { Ok(()) }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{DASH}{signature}"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.as_bytes().as_slice(), &self.bytes].concat();
        write!(f, "{} {}", self.name, STANDARD.encode(bytes))
    }
}
