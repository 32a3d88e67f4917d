//! The name of one stream of events: made with its directory, so that a directory that was lost
//! and made anew is another stream, whose sequence begins again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use super::segment::sync_dir;

const FILE: &str = "identity";

/// The identity of a spool directory, unless no spool was opened in it yet.
pub fn read(dir: &Path) -> io::Result<Option<Uuid>> {
    match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => Uuid::try_parse(text.trim_ascii()).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes sure that a spool directory has an identity. It appears whole or not at all.
pub fn ensure(dir: &Path) -> io::Result<Uuid> {
    if let Some(identity) = read(dir)? {
        return Ok(identity);
    }
    let draft = dir.join("identity.new");
    let mut file = File::create(&draft)?;
    let identity = Uuid::now_v7();
    writeln!(file, "{identity}")?;
    file.sync_all()?;
    std::fs::rename(&draft, dir.join(FILE))?;
    sync_dir(dir)?;
    Ok(identity)
}
