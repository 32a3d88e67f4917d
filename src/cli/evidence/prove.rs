//! `permyx evidence prove` and `checkpoint`: small texts that somebody keeps.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::super::ask::{Asked, escaped};
use super::super::error::CliError;
use super::file::write_new;
use super::{Api, LIMITS};
use crate::net::client::Limits;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::key::VerifierKey;
use crate::tlog::note::{NOTE_MAX, Note};
use crate::tlog::proof::Proof;

/// Largest proof, and largest list of keys.
const TEXT: Limits = Limits { body: 1 << 20, ..LIMITS };

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    /// An event's id, or its index in the store
    id: String,
    /// Write it to a new file instead
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    api: Api,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes the proof of an event.
pub(super) async fn run(args: &ProveArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let Api { url, key } = &args.api;
    let path = format!("/v1/evidence/proof/{}", escaped(&args.id));
    let bytes = Asked { url, path: &path, key: Some(key) }.bytes("text/plain", TEXT).await?;
    let not_permyx = || CliError::NotPermyx { url: url.clone(), status: 200 };
    let proof = Proof::parse(&bytes).map_err(|_| not_permyx())?;
    let checkpoint = Checkpoint::claimed(proof.note()).ok_or_else(not_permyx)?;
    let told = Told {
        text: &String::from_utf8_lossy(&bytes),
        file: args.output.as_deref(),
        what: format!("proof of leaf {} of the log {}", proof.index(), checkpoint.origin),
        facts: [
            ("origin", checkpoint.origin.as_str().into()),
            ("index", proof.index().into()),
            ("size", checkpoint.size.into()),
        ],
    };
    told.write(args.json, out)
}

#[derive(Debug, Args)]
pub(super) struct CheckpointArgs {
    /// The year of the log; the newest without it
    #[arg(long)]
    year: Option<u16>,
    /// Write it to a new file instead
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the control plane is
    #[arg(long, env = "PERMYX_URL", default_value = "http://127.0.0.1:8481")]
    url: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes the newest checkpoint of a log. It is believed only when something is verified with it.
pub(super) async fn checkpoint(args: &CheckpointArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let url = &args.url;
    let year = match args.year {
        Some(year) => year,
        None => newest(url).await?,
    };
    let path = format!("/log/{year}/checkpoint");
    let limits = Limits { body: NOTE_MAX, ..LIMITS };
    let bytes = Asked { url, path: &path, key: None }.bytes("text/plain", limits).await?;
    let checkpoint = claimed(&bytes).ok_or_else(|| CliError::NotPermyx { url: url.clone(), status: 200 })?;
    let Checkpoint { origin, size, root } = checkpoint;
    let told = Told {
        text: &String::from_utf8_lossy(&bytes),
        file: args.output.as_deref(),
        what: format!("checkpoint of the log {origin}, {size} events"),
        facts: [("origin", origin.as_str().into()), ("size", size.into()), ("root", root.to_string().into())],
    };
    told.write(args.json, out)
}

/// What a checkpoint says, whoever signed it.
pub(super) fn claimed(bytes: &[u8]) -> Option<Checkpoint> {
    Checkpoint::claimed(&Note::parse(bytes).ok()?)
}

/// The newest year that has a log: the names of the keys end with it.
async fn newest(url: &str) -> Result<u16, CliError> {
    let keys = Asked { url, path: "/log/keys", key: None }.bytes("text/plain", TEXT).await?;
    let text = String::from_utf8_lossy(&keys);
    let year = |line: &str| VerifierKey::parse(line).ok()?.name().as_str().rsplit('/').next()?.parse().ok();
    text.lines().filter_map(year).max().ok_or_else(|| CliError::NoLog(url.to_owned()))
}

/// A text, and what is said of it.
struct Told<'a> {
    text: &'a str,
    file: Option<&'a Path>,
    what: String,
    facts: [(&'static str, Value); 3],
}

impl Told<'_> {
    fn write(self, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
        if let Some(path) = self.file {
            write_new(path, self.text.as_bytes())?;
        }
        if json {
            let file = self.file.map(|path| path.display().to_string());
            let facts = self.facts.into_iter().chain([("text", self.text.into()), ("file", file.into())]);
            let told: Map<_, _> = facts.map(|(name, value)| (name.to_owned(), value)).collect();
            return Ok(writeln!(out, "{}", Value::Object(told))?);
        }
        match self.file {
            Some(path) => Ok(writeln!(out, "{}: {}", path.display(), self.what)?),
            None => Ok(out.write_all(self.text.as_bytes())?),
        }
    }
}
