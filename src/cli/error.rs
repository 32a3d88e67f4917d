//! How a command ends when it does not succeed: a sentence with its causes, and a stable exit code.

use std::fmt;
use std::path::PathBuf;

use crate::audit::trust::NotATrustFile;
use crate::authority::policies::NotTaken;
#[cfg(feature = "control-plane")]
use crate::backup::BackupError;
use crate::boot::BootError;
use crate::config::ConfigError;
#[cfg(feature = "control-plane")]
use crate::evidence::StoreError;
#[cfg(feature = "control-plane")]
use crate::evidence::log::LogError;
use crate::keystore::KeystoreError;
use crate::model::document::Problems;
use crate::model::ids::Jti;
use crate::model::revocation::{NoCommand, NotASubject};
use crate::net::client::ClientError;
use crate::revocation::RevocationError;
use crate::tlog::key::KeyName;

/// The exit codes. Scripts depend on them; 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Refused, or something was found that is not right.
    Finding = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// It cannot be said, or was not done to the end.
    Incomplete = 3,
    /// Nobody answers.
    Unreachable = 4,
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("the keys cannot be used")]
    Keys(#[from] KeystoreError),
    #[error("the revocations cannot be used")]
    Revocations(#[from] RevocationError),
    #[error("`{id}` {why}")]
    NotASubject { id: String, why: NotASubject },
    #[error("{0}")]
    NoCommand(#[from] NoCommand),
    #[error("it is written here, but Redis did not answer: processes on other hosts hear of it later")]
    NotShared(#[from] redis::RedisError),
    #[error("the answer cannot be written")]
    Output(#[from] std::io::Error),
    #[error("no answer from `{url}`: is `permyx dev` or `permyx serve` running there?")]
    NoAnswer { url: String, source: ClientError },
    #[error("`{url}` answered with status {status} and not as a Permyx API does: check --url")]
    NotPermyx { url: String, status: u16 },
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("cannot start")]
    Boot(#[from] BootError),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Policies(#[from] NotTaken),
    #[error(
        "this configuration has no [ledger.redis]: a memory ledger cannot be looked into from outside; `permyx timeline` tells what became of a token"
    )]
    NoSharedLedger,
    #[error("the ledger does not answer: {0}")]
    Ledger(String),
    #[error(
        "the ledger does not remember the token {0}: it was not used within the last five minutes, or in another store"
    )]
    NotRemembered(Jti),
    #[error("there is no preset `{name}`; use one of: {known}")]
    NoSuchPreset { name: String, known: String },
    #[error("cannot read `{}`", .path.display())]
    Unread { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Wrong(Problems),
    #[error("a preset does not do what its fixtures say; cases: {count}, failed: {failed}")]
    CasesFailed { failed: usize, count: usize },
    #[error("`{0}` can be reached from here without passing the gateway: allow only the gateway to connect to it")]
    Bypassed(String),
    #[error("`{to}` {why}: whether it can be reached from here is not known")]
    NotTried { to: String, why: String },
    #[error("it is not ready to start; errors: {0}")]
    NotReady(usize),
    #[error("cannot read `{}`", .path.display())]
    NothingToVerify { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not a file of keys: one a line, as `name+id+base64`", .path.display())]
    NotATrustFile { path: PathBuf, source: NotATrustFile },
    #[error("the evidence is not what it should be; failed: {0}")]
    NotGenuine(String),
    #[error("something that is required cannot be said: see UNKNOWN above")]
    NotProven,
    #[error("`{}` is there already, and nothing is overwritten: name another file", .0.display())]
    IsThere(PathBuf),
    #[error("cannot write `{}`", .path.display())]
    Unwritten { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not a checkpoint: keep one with `permyx evidence checkpoint -o FILE`", .0.display())]
    NotACheckpoint(PathBuf),
    #[error("`{}` is a checkpoint of the log `{kept}`, and the events are in `{found}`", .path.display())]
    OtherLog { path: PathBuf, kept: KeyName, found: String },
    #[error("`{0}` has no signed log yet: it begins with the first event")]
    NoLog(String),
    #[error("the keys of the log cannot be used")]
    #[cfg(feature = "control-plane")]
    LogKeys(#[from] LogError),
    #[error("it did not hold: {0}")]
    NotHeld(String),
    #[error("no answer from `{url}`: is `permyx dev` or `permyx gateway` running there?")]
    NoGateway { url: String, source: ClientError },
    #[error(
        "`{0}` is not on this machine, and what passes there is really bought: add --yes-this-buys if that is meant"
    )]
    ReallyBuys(String),
    #[error(
        "the scenario needs an operator's key: `permyx agent-key create --role operator --all-stores` with the --data of the control plane makes one, --operator-key takes it"
    )]
    NoOperator,
    #[error("nobody is there who would do that and press Enter: add --fault-is-there once it is done")]
    NobodyThere,
    #[error(transparent)]
    #[cfg(feature = "control-plane")]
    Backup(#[from] BackupError),
    #[error("`{0}` is not an API key: it may hold only printable ASCII characters")]
    NotAKey(&'static str),
}

/// What the API says of a refusal.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
    pub trace: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        if let Some(trace) = &self.trace {
            write!(f, "\n  trace: {trace}")?;
        }
        Ok(())
    }
}

impl CliError {
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Keys(
                KeystoreError::HasSigningKey(_)
                | KeystoreError::NoSuchApiKey(_)
                | KeystoreError::TooManySigningKeys(_)
                | KeystoreError::TooManyApiKeys(_),
            ) => Exit::Finding,
            Self::Keys(KeystoreError::NeedsStores(_) | KeystoreError::NotASecret)
            | Self::NotAKey(_)
            | Self::NotASubject { .. } => Exit::Usage,
            Self::NothingToVerify { .. } | Self::NotATrustFile { .. } => Exit::Usage,
            Self::IsThere(_) | Self::NotACheckpoint(_) | Self::OtherLog { .. } => Exit::Usage,
            Self::Unwritten { .. } => Exit::Incomplete,
            Self::NoLog(_) => Exit::Finding,
            #[cfg(feature = "control-plane")]
            Self::LogKeys(LogError::NoKeys(_)) => Exit::Usage,
            #[cfg(feature = "control-plane")]
            Self::LogKeys(LogError::NoSuchKey(_) | LogError::OnlyKey(_) | LogError::TooManyKeys(_)) => Exit::Finding,
            #[cfg(feature = "control-plane")]
            Self::LogKeys(_) => Exit::Incomplete,
            #[cfg(feature = "control-plane")]
            Self::Backup(error) => of_a_backup(error),
            Self::NoCommand(_) | Self::NotGenuine(_) => Exit::Finding,
            Self::NotProven => Exit::Incomplete,
            Self::Keys(_) | Self::Revocations(_) | Self::NotShared(_) | Self::Output(_) => Exit::Incomplete,
            Self::NoAnswer { source: ClientError::NotAUrl(_) | ClientError::HoldsCredentials, .. } => Exit::Usage,
            Self::NoGateway { source: ClientError::NotAUrl(_) | ClientError::HoldsCredentials, .. } => Exit::Usage,
            Self::NoAnswer { .. } | Self::NotPermyx { .. } | Self::NoGateway { .. } => Exit::Unreachable,
            Self::NotHeld(_) => Exit::Finding,
            Self::ReallyBuys(_) | Self::NoOperator | Self::NobodyThere => Exit::Usage,
            Self::Config(_) | Self::Policies(_) | Self::NotRemembered(_) => Exit::Finding,
            Self::Wrong(_) | Self::Unread { .. } | Self::CasesFailed { .. } | Self::NotReady(_) => Exit::Finding,
            Self::Bypassed(_) => Exit::Finding,
            Self::NotTried { .. } => Exit::Incomplete,
            Self::NoSharedLedger | Self::NoSuchPreset { .. } => Exit::Usage,
            Self::Ledger(_) => Exit::Unreachable,
            Self::Boot(_) => Exit::Usage,
            Self::Refused(refusal) if refusal.status < 500 => Exit::Finding,
            Self::Refused(_) => Exit::Incomplete,
        }
    }

    /// The sentence and what caused it, each cause on its own line.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!("error: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let because = error.to_string();
            // A transparent error is its own cause: it is told once.
            if !text.ends_with(&because) {
                text.push_str(&format!("\n  because: {because}"));
            }
            cause = error.source();
        }
        text
    }
}

#[cfg(feature = "control-plane")]
fn of_a_backup(error: &BackupError) -> Exit {
    match error {
        BackupError::NothingThere(_) | BackupError::IsThere(_) | BackupError::NotEmpty(_) => Exit::Usage,
        BackupError::OtherLog { .. } | BackupError::Mounted(_) => Exit::Usage,
        BackupError::Refused { .. } | BackupError::NotSigned(_) | BackupError::Clock { .. } => Exit::Finding,
        // What an archive holds, or a directory: it is damaged, or from a newer program.
        BackupError::Store(StoreError::Newer { .. } | StoreError::Damaged { .. }) => Exit::Finding,
        BackupError::Log(LogError::Damaged(_) | LogError::Checkpoint { .. } | LogError::Missing(_)) => Exit::Finding,
        BackupError::Changed(_) | BackupError::Io { .. } | BackupError::File(_) => Exit::Incomplete,
        BackupError::Store(_) | BackupError::Log(_) => Exit::Incomplete,
    }
}
