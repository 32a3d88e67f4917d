//! The secret of whoever administers a running process: a file in its data directory, for its owner alone.

use std::path::{Path, PathBuf};

use crate::durable::{self, Readers};

use super::KeystoreError;
use super::secret::{SECRET_MAX, SecretHash, hex, random};

/// Checks what a caller shows. The text itself is not kept.
#[derive(Clone)]
pub struct AdminToken(SecretHash);

impl AdminToken {
    /// Where it lies below a data directory.
    #[must_use]
    pub fn path(data: &Path) -> PathBuf {
        data.join("admin.token")
    }

    /// The one of this data directory; made where there is none. What is in the file may be the operator's own:
    /// at least 32 characters on one line.
    pub fn open(data: &Path) -> Result<Self, KeystoreError> {
        let path = Self::path(data);
        if let Some(text) = durable::read(&path, SECRET_MAX as u64)? {
            let text = text.trim();
            return if text.len() >= 32 { Ok(Self(SecretHash::of(text))) } else { Err(KeystoreError::WeakAdmin(path)) };
        }
        let lock = durable::lock(&data.join("admin.lock"))?;
        let text = hex(&random::<32>()?);
        durable::replace(&path, format!("{text}\n").as_bytes(), Readers::Owner, &lock)?;
        Ok(Self(SecretHash::of(&text)))
    }

    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        self.0.is(&SecretHash::of(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_a_short_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = AdminToken::open(dir.path()).unwrap();
        let text = std::fs::read_to_string(AdminToken::path(dir.path())).unwrap();
        assert!(made.is(text.trim()) && !made.is("") && !made.is(&format!("0{text}")));
        assert!(AdminToken::open(dir.path()).unwrap().is(text.trim()));
        std::fs::write(AdminToken::path(dir.path()), "secret\n").unwrap();
        assert!(matches!(AdminToken::open(dir.path()), Err(KeystoreError::WeakAdmin(_))));
    }
}
