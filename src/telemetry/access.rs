//! The access log: a line of JSON for each request, for whoever runs the gateway. It is no evidence: what does
//! not fit is dropped and counted, and no request waits for it. Nothing that a caller wrote is in it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// Lines that wait to be written at most.
const WAITING_MAX: usize = 8192;
/// A line is on its way to the file no later than this.
const FLUSH: Duration = Duration::from_millis(200);
/// Time for what still waits when the process ends. A pipe that nobody reads must not keep it alive.
const LAST: Duration = Duration::from_secs(1);

/// Which requests get a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    #[default]
    Off,
    /// Those that Permyx refused.
    Denied,
    All,
}

/// One line.
#[derive(Serialize)]
pub struct Line<'a> {
    #[serde(serialize_with = "shown")]
    pub ts: Timestamp,
    pub trace: &'a str,
    pub listener: &'static str,
    pub route: &'a str,
    /// `other` where it is none of RFC 9110.
    pub method: &'static str,
    /// 0 where nothing was answered.
    pub status: u16,
    pub decision: &'static str,
    /// Who answered: `merchant`, `permyx`, or `nobody`.
    pub by: &'static str,
    /// Why it was not the merchant: a reason or a fault, or `caller_left`.
    pub why: Option<&'static str>,
    pub bytes_out: usize,
    pub total_us: i64,
    /// What of that went by while the caller or the merchant was waited for.
    pub waited_us: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn shown<S: serde::Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(at)
}

enum Order {
    Write(Vec<u8>),
    /// Write what there is, and say so.
    End(SyncSender<()>),
}

/// The log of a process.
pub struct AccessLog {
    which: Which,
    orders: SyncSender<Order>,
    dropped: IntCounter,
    /// True once the file was moved away, until it is begun anew.
    reopen: Arc<AtomicBool>,
}

impl AccessLog {
    /// Opens the file, or the standard output where none is named.
    pub fn open(which: Which, file: Option<&Path>, dropped: IntCounter) -> io::Result<Self> {
        let (orders, received) = sync_channel(WAITING_MAX);
        let reopen = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            path: file.map(Path::to_owned),
            out: opened(file)?,
            reopen: reopen.clone(),
            dropped: dropped.clone(),
            unflushed: None,
            well: true,
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&received))?;
        Ok(Self { which, orders, dropped, reopen })
    }

    /// Whether a request that was refused, or not, gets a line.
    #[must_use]
    pub fn wants(&self, denied: bool) -> bool {
        match self.which {
            Which::Off => false,
            Which::Denied => denied,
            Which::All => true,
        }
    }

    pub fn write(&self, line: &Line<'_>) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if self.orders.try_send(Order::Write(bytes)).is_err() {
            self.dropped.inc();
        }
    }

    /// The file was moved away: the next line begins it anew.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Writes what still waits, as far as that is possible in time. Blocks.
    pub fn close(&self) {
        let (told, done) = sync_channel(1);
        if self.orders.try_send(Order::End(told)).is_ok() {
            let _ = done.recv_timeout(LAST);
        }
    }
}

fn opened(file: Option<&Path>) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::new(match file {
        Some(path) => OpenOptions::new().create(true).append(true).open(path)?,
        // Its own hold on it: the command line keeps the lock of the other.
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
    }))
}

struct Writer {
    path: Option<PathBuf>,
    out: BufWriter<File>,
    reopen: Arc<AtomicBool>,
    dropped: IntCounter,
    /// Since when a line waits to be flushed.
    unflushed: Option<Instant>,
    /// False from a failure, which is told once, until it is over.
    well: bool,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let pause = self.unflushed.map_or(FLUSH, |since| FLUSH.saturating_sub(since.elapsed()));
            let order = orders.recv_timeout(pause);
            if self.path.is_some() && self.reopen.swap(false, Ordering::AcqRel) {
                let reopened = self.flush().and_then(|()| opened(self.path.as_deref()));
                let taken = reopened.map(|out| self.out = out);
                self.tell(&taken);
            }
            match order {
                Ok(Order::Write(line)) => {
                    self.unflushed.get_or_insert_with(Instant::now);
                    let written = self.out.write_all(&line);
                    if written.is_err() {
                        self.dropped.inc();
                    }
                    self.tell(&written);
                }
                Ok(Order::End(done)) => {
                    let _ = self.flush();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.flush();
                    return;
                }
            }
            if self.unflushed.is_some_and(|since| since.elapsed() >= FLUSH) {
                let flushed = self.flush();
                self.tell(&flushed);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unflushed = None;
        self.out.flush()
    }

    fn tell(&mut self, done: &io::Result<()>) {
        if let (Err(error), true) = (done, self.well) {
            tracing::error!(%error, "the access log cannot be written");
        }
        self.well = done.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(trace: &str) -> Line<'_> {
        Line {
            ts: Timestamp::of_seconds(1_795_000_000),
            trace,
            listener: "gateway",
            route: "checkout",
            method: "POST",
            status: 403,
            decision: "denied",
            by: "permyx",
            why: Some("REPLAY_DETECTED"),
            bytes_out: 412,
            total_us: 95,
            waited_us: 12,
        }
    }

    #[test]
    fn lines_are_whole_and_a_file_that_was_moved_away_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let log = AccessLog::open(Which::All, Some(&path), IntCounter::new("d", "d").unwrap()).unwrap();
        log.write(&line("one"));
        log.close();
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(&line("two"));
        log.close();
        assert_eq!(
            std::fs::read_to_string(moved).unwrap(),
            "{\"ts\":\"2026-11-18T11:06:40.000Z\",\"trace\":\"one\",\"listener\":\"gateway\",\"route\":\"checkout\",\
             \"method\":\"POST\",\"status\":403,\"decision\":\"denied\",\"by\":\"permyx\",\"why\":\"REPLAY_DETECTED\",\
             \"bytes_out\":412,\"total_us\":95,\"waited_us\":12}\n"
        );
        assert!(std::fs::read_to_string(path).unwrap().contains("\"two\""));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let dropped = IntCounter::new("d", "d").unwrap();
        let (orders, _nobody_writes) = sync_channel(1);
        let log = AccessLog { which: Which::Denied, orders, dropped: dropped.clone(), reopen: Arc::default() };
        assert!(log.wants(true) && !log.wants(false));
        for _ in 0..4 {
            log.write(&line("x"));
        }
        assert_eq!(dropped.get(), 3);
    }
}
