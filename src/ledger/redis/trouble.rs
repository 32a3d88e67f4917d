//! What can go wrong between a ledger and its server. Each has a name, and none is a judgement.

use redis::{ErrorKind, RedisError};

/// Why the server did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Known before it was asked.
    #[error("the server cannot be reached")]
    Down,
    #[error("the server gave no answer in time")]
    TimedOut,
    #[error("the connection broke before the answer came")]
    Broken,
    #[error("the server answered what is no answer")]
    Garbled,
    #[error("the server is still loading its data")]
    Loading,
    #[error("the server is a replica and takes no writes")]
    ReadOnly,
    #[error("the replica has lost its primary")]
    MasterDown,
    #[error("too few replicas took the write")]
    TooFewReplicas,
    /// Said before anything was written.
    #[error("the server has too few replicas to write")]
    NoReplicas,
    #[error("the server is out of memory")]
    OutOfMemory,
    #[error("the server runs a script of somebody else")]
    Busy,
    #[error("the server cannot write to its disk")]
    CannotPersist,
    #[error("the cluster does not serve these keys")]
    ClusterDown,
    #[error("the keys are on another server")]
    Moved,
    #[error("the server does not know the script")]
    NoScript,
    #[error("the server refuses this user or its password")]
    Denied,
    #[error("the server is not safe to burn in")]
    Unsafe,
    #[error("a key of the ledger holds something else")]
    WrongType,
    #[error("the server refused the command")]
    Refused,
}

impl Trouble {
    /// A closed set, for metrics and evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::Garbled => "garbled",
            Self::Loading => "loading",
            Self::ReadOnly => "read_only",
            Self::MasterDown => "master_down",
            Self::TooFewReplicas => "too_few_replicas",
            Self::NoReplicas => "no_replicas",
            Self::OutOfMemory => "out_of_memory",
            Self::Busy => "busy",
            Self::CannotPersist => "cannot_persist",
            Self::ClusterDown => "cluster_down",
            Self::Moved => "moved",
            Self::NoScript => "no_script",
            Self::Denied => "denied",
            Self::Unsafe => "unsafe",
            Self::WrongType => "wrong_type",
            Self::Refused => "refused",
        }
    }

    /// True when the command may have been carried out all the same.
    #[must_use]
    pub const fn may_have_happened(self) -> bool {
        matches!(self, Self::TimedOut | Self::Broken | Self::Garbled | Self::TooFewReplicas)
    }

    /// True when the connection is of no use any more.
    pub(super) const fn breaks_connection(self) -> bool {
        matches!(
            self,
            Self::TimedOut
                | Self::Broken
                | Self::Garbled
                | Self::Loading
                | Self::ReadOnly
                | Self::MasterDown
                | Self::Denied
        )
    }

    /// True when another connection, or the same a moment later, may do it.
    pub(super) const fn worth_another_attempt(self) -> bool {
        matches!(self, Self::TimedOut | Self::Broken | Self::ReadOnly | Self::Moved | Self::NoScript)
    }
}

impl From<&RedisError> for Trouble {
    fn from(error: &RedisError) -> Self {
        match error.code() {
            Some(code) => of_code(code, error.detail().unwrap_or_default()),
            None if error.is_timeout() => Self::TimedOut,
            None => match error.kind() {
                ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Garbled,
                ErrorKind::AuthenticationFailed => Self::Denied,
                _ => Self::Broken,
            },
        }
    }
}

/// The error codes of Redis 7 and Valkey 8, by their first word.
fn of_code(code: &str, detail: &str) -> Trouble {
    match code {
        "LOADING" => Trouble::Loading,
        "READONLY" => Trouble::ReadOnly,
        "MASTERDOWN" => Trouble::MasterDown,
        "NOREPLICAS" => Trouble::NoReplicas,
        "OOM" => Trouble::OutOfMemory,
        "BUSY" => Trouble::Busy,
        "MISCONF" => Trouble::CannotPersist,
        "CLUSTERDOWN" | "TRYAGAIN" | "CROSSSLOT" => Trouble::ClusterDown,
        "MOVED" | "ASK" => Trouble::Moved,
        "NOSCRIPT" => Trouble::NoScript,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Trouble::Denied,
        "WRONGTYPE" => Trouble::WrongType,
        _ if detail.contains("WRONGTYPE") => Trouble::WrongType,
        _ => Trouble::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_error_has_its_name() {
        let named = [
            ("LOADING", "loading"),
            ("READONLY", "read_only"),
            ("MASTERDOWN", "master_down"),
            ("NOREPLICAS", "no_replicas"),
            ("OOM", "out_of_memory"),
            ("BUSY", "busy"),
            ("MISCONF", "cannot_persist"),
            ("CLUSTERDOWN", "cluster_down"),
            ("MOVED", "moved"),
            ("ASK", "moved"),
            ("NOAUTH", "denied"),
            ("WRONGPASS", "denied"),
            ("NOPERM", "denied"),
            ("WRONGTYPE", "wrong_type"),
            ("ERR", "refused"),
        ];
        for (code, name) in named {
            assert_eq!(of_code(code, "").as_str(), name);
        }
        // A script tells the type error of its command in its own words.
        assert_eq!(of_code("ERR", "WRONGTYPE Operation against a key"), Trouble::WrongType);
    }

    #[test]
    fn a_refused_command_was_not_carried_out() {
        for code in ["LOADING", "READONLY", "NOREPLICAS", "OOM", "MISCONF", "NOAUTH", "MOVED", "CLUSTERDOWN", "BUSY"] {
            assert!(!of_code(code, "").may_have_happened(), "{code}");
        }
    }
}
