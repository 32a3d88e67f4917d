//! What an archive says of itself, in front of everything else: so that what cannot be read here is refused
//! before a byte of it is unpacked.

use serde::{Deserialize, Serialize};

use super::archive::Refused;
use super::layout::place_of;
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
pub const NAME: &str = "manifest.json";
/// Longest manifest: a log of a hundred million events has less.
pub const MANIFEST_MAX: u64 = 256 << 20;

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub name: String,
    pub size: u64,
    /// `sha256:` and hex, as everywhere.
    pub sha256: String,
}

impl Listed {
    #[must_use]
    pub fn new(name: String, size: u64, sha256: &Sha256) -> Self {
        Self { name, size, sha256: sha256.to_string() }
    }
}

/// A manifest: every file that it names has its place in a data directory, and stands once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The program that made it.
    pub version: String,
    pub made: Timestamp,
    /// Whether private keys are in it.
    pub keys: bool,
    files: Vec<Listed>,
}

/// What every format says.
#[derive(Deserialize)]
struct Any {
    format: u32,
    version: String,
}

impl Manifest {
    /// The files are in the order of their names.
    #[must_use]
    pub fn new(version: &str, made: Timestamp, keys: bool, files: Vec<Listed>) -> Self {
        Self { format: FORMAT, version: version.to_owned(), made, keys, files }
    }

    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let any: Any = serde_json::from_slice(bytes).map_err(|_| Refused::NoBackup("its manifest cannot be read"))?;
        if any.format != FORMAT {
            return Err(Refused::Format { format: any.format, version: any.version });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(Refused::Manifest)?;
        manifest.has_places()?;
        Ok(manifest)
    }

    fn has_places(&self) -> Result<(), Refused> {
        let mut before: Option<&str> = None;
        for Listed { name, size, .. } in &self.files {
            let stranger = |why| Refused::Stranger { name: name.clone(), why };
            let place = place_of(name).ok_or(stranger("no such file belongs into a data directory"))?;
            if *size > place.max {
                return Err(stranger("it is longer than such a file can be"));
            }
            if before.is_some_and(|before| before >= name.as_str()) {
                return Err(stranger("it stands twice, or not in the order of names"));
            }
            if place.private && !self.keys {
                return Err(stranger("it is private, and no keys are said to be in it"));
            }
            before = Some(name);
        }
        let total = self.files.iter().try_fold(0_u64, |total, file| total.checked_add(file.size));
        total.map(drop).ok_or(Refused::NoBackup("its files are longer than any disk"))
    }

    #[must_use]
    pub fn files(&self) -> &[Listed] {
        &self.files
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.binary_search_by(|file| file.name.as_str().cmp(name)).is_ok()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The bytes of it, for the front of an archive.
    pub fn written(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
