//! Listeners that outlive a program: given by systemd, or by the program that was here before.
//!
//! An upgrade (SIGQUIT) is one program after the other in one process, never two at once: a spool has one
//! writer. Between them connections wait in the kernel's queue of the listener, which stays open (ADR 016).

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener as Listener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::listen::BootError;

/// Names of what was handed over, in order (sd_listen_fds_with_names(3)).
const NAMES: &str = "LISTEN_FDNAMES";
/// Before the names of those that a program hands to the next.
const OURS: &str = "permyx-";
/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// The listeners of this process.
#[derive(Default)]
pub(super) struct Listeners {
    /// What was handed over and not taken yet: name and listener.
    given: Vec<(String, Listener)>,
    /// A second hold on each that is open, for the program that comes after this one, and the name by which that
    /// one gets it.
    kept: Vec<(String, Listener)>,
}

impl Listeners {
    /// With what was handed to this process.
    #[expect(clippy::disallowed_methods, reason = "no setting: what came with the descriptors")]
    pub(super) fn inherited() -> Self {
        let mut fds = ListenFd::from_env();
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut given = Vec::new();
        for at in 0..fds.len() {
            let name = names.next().unwrap_or_default();
            match fds.take_tcp_listener(at) {
                Ok(Some(listener)) => given.push((name, listener)),
                Ok(None) => {}
                Err(error) => tracing::warn!(name, %error, "what was handed over is no TCP listener"),
            }
        }
        Self { given, kept: Vec::new() }
    }

    /// The listener that was handed over under this name or for this address; else a new one.
    pub(super) async fn open(&mut self, name: &'static str, address: SocketAddr) -> Result<TcpListener, BootError> {
        let (handed, listener) = match self.take(name, address) {
            Some(given) => given,
            None => {
                let listener = super::listen::listen(name, address).await?.into_std().map_err(BootError::Thread)?;
                (format!("{OURS}{name}"), listener)
            }
        };
        listener.set_nonblocking(true).map_err(BootError::Thread)?;
        self.kept.push((handed, listener.try_clone().map_err(BootError::Thread)?));
        TcpListener::from_std(listener).map_err(BootError::Thread)
    }

    /// What the program before this one held is taken where it still is what the configuration says; what a
    /// service manager gives by name is the service manager's to say.
    fn take(&mut self, name: &str, address: SocketAddr) -> Option<(String, Listener)> {
        let fits = |listener: &Listener| {
            listener.local_addr().is_ok_and(|bound| {
                bound.ip() == address.ip() && (bound.port() == address.port() || address.port() == 0)
            })
        };
        let at = self.given.iter().position(|(given, listener)| match given.strip_prefix(OURS) {
            Some(given) => given == name && fits(listener),
            None => given == name || (address.port() != 0 && fits(listener)),
        })?;
        let (given, listener) = self.given.swap_remove(at);
        // It stays the service manager's, whatever program has it next.
        Some((if given == name { given } else { format!("{OURS}{name}") }, listener))
    }
}

/// This program as it was started.
pub struct Invocation {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Invocation {
    /// Asked early: later the file may be another one.
    pub fn of_this_process() -> std::io::Result<Self> {
        let mut args = std::env::args_os();
        // As it was named: a link to the newest version leads to another one later.
        let named = PathBuf::from(args.next().unwrap_or_default());
        let named = std::env::current_dir()?.join(named);
        let program = if named.is_file() { named } else { std::env::current_exe()? };
        Ok(Self { program, args: args.collect() })
    }

    /// Whether the program that is installed now would start as this one was.
    pub async fn rehearse(&self) -> Result<(), String> {
        let mut check = Command::new(&self.program);
        check.args(&self.args).arg("--rehearse");
        let told = tokio::task::spawn_blocking(move || check.output()).await.map_err(|error| error.to_string())?;
        let told = told.map_err(|error| format!("`{}`: {error}", self.program.display()))?;
        if told.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&told.stderr).trim().to_owned()) }
    }
}

/// What the next program needs: how it is started, and the open listeners.
pub struct Handover {
    invocation: Invocation,
    listeners: Vec<(String, Listener)>,
}

impl Handover {
    pub(super) fn new(invocation: Invocation, listeners: Listeners) -> Self {
        Self { invocation, listeners: listeners.kept }
    }

    /// Becomes the next program. Returns only with what prevented it.
    pub fn exec(self) -> std::io::Error {
        let Self { invocation, listeners } = self;
        let (names, listeners): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let mut next = Command::new(&invocation.program);
        next.args(&invocation.args);
        next.env("LISTEN_PID", std::process::id().to_string());
        next.env("LISTEN_FDS", listeners.len().to_string());
        next.env(NAMES, names.join(":"));
        let mapping = |(fd, listener): (i32, Listener)| FdMapping { parent_fd: listener.into(), child_fd: fd };
        match next.fd_mappings((FIRST..).zip(listeners).map(mapping).collect()) {
            Ok(next) => next.exec(),
            Err(error) => std::io::Error::other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (Listener, SocketAddr) {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// The name under which it would be handed on, where it is taken.
    fn taken(given: &str, asked: impl FnOnce(SocketAddr) -> SocketAddr) -> Option<String> {
        let (listener, address) = bound();
        let mut listeners = Listeners { given: vec![(given.to_owned(), listener)], kept: Vec::new() };
        listeners.take("gateway", asked(address)).map(|(name, _)| name)
    }

    #[test]
    fn what_a_program_held_is_taken_only_where_the_configuration_still_says_so() {
        let ours = Some("permyx-gateway".to_owned());
        assert_eq!(taken("permyx-gateway", |bound| bound), ours);
        assert_eq!(taken("permyx-gateway", |bound| SocketAddr::new(bound.ip(), 0)), ours);
        assert_eq!(taken("permyx-gateway", |bound| SocketAddr::new(bound.ip(), bound.port() ^ 1)), None);
        assert_eq!(taken("permyx-gateway", |bound| SocketAddr::from(([0, 0, 0, 0], bound.port()))), None);
        assert_eq!(taken("permyx-ops", |bound| bound), None);
    }

    #[test]
    fn what_a_service_manager_gives_is_taken_by_its_name_or_its_address() {
        let elsewhere = |bound: SocketAddr| SocketAddr::new(bound.ip(), bound.port() ^ 1);
        assert_eq!(taken("gateway", elsewhere), Some("gateway".to_owned()));
        assert_eq!(taken("", |bound| bound), Some("permyx-gateway".to_owned()));
        assert_eq!(taken("", elsewhere), None);
        // Whatever has no name fits no port of 0.
        assert_eq!(taken("", |bound| SocketAddr::new(bound.ip(), 0)), None);
    }
}
