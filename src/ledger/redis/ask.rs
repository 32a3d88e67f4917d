//! Asking the server: at most twice, under one deadline, and in an epoch that is known to be good.

use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::model::ids::StoreId;
use crate::model::time::Timestamp;

use super::super::LedgerError;
use super::super::epoch::Epoch;
use super::line::{Line, parsed};
use super::scripts::Script;
use super::text::{self, Keys};
use super::{EPOCH_HEALTHY_MS, Notice, RETENTION_MS, SKEW_S, Shared, Trouble};

/// How often a command is sent at most: the second time because the first may be lost.
const SENDINGS_MAX: u32 = 2;
/// How often a call is begun anew because the server said what is missing: an epoch, a script, a
/// key that moved.
const DETOURS_MAX: u32 = 4;

/// An answer, and how often the command may have reached the server.
pub(super) struct Asked<T = Vec<String>> {
    pub(super) reply: T,
    pub(super) attempts: u32,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unavailable {
    error: LedgerError,
    /// True when the command may have been carried out all the same.
    pub(super) may_have_happened: bool,
}

impl Unavailable {
    pub(super) fn quarantine(epoch: &Epoch, now: Timestamp) -> Self {
        let error = LedgerError::Quarantine { retry_after_s: epoch.remaining_s(now).max(1) };
        Self { error, may_have_happened: false }
    }
}

impl From<Trouble> for Unavailable {
    fn from(trouble: Trouble) -> Self {
        Self { error: LedgerError::Unavailable(trouble), may_have_happened: trouble.may_have_happened() }
    }
}

impl From<Unavailable> for LedgerError {
    fn from(unavailable: Unavailable) -> Self {
        unavailable.error
    }
}

impl Shared {
    /// Calls a script that judges by the store's epoch. `replicas`: how many have to confirm.
    pub(super) async fn ask_in_epoch(
        &self,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Asked, Unavailable> {
        for _ in 0..DETOURS_MAX {
            let asked = self.ask(store, &build, replicas).await?;
            match asked.reply.first().map(String::as_str) {
                Some("epoch") => self.begin_epoch(store).await?,
                Some("quarantine") => {
                    let started = asked.reply.get(1).and_then(|text| text.parse().ok()).ok_or(Trouble::Garbled)?;
                    self.epochs.lock().insert(store.clone(), started);
                    let epoch = Epoch::starting(Timestamp::of_millis(started), SKEW_S);
                    return Err(Unavailable::quarantine(&epoch, self.clock.now()));
                }
                _ => return Ok(asked),
            }
        }
        Err(Trouble::Refused.into())
    }

    /// Reads the store's epoch, and begins a new one where the ledger may have forgotten.
    pub(super) async fn begin_epoch(&self, store: &StoreId) -> Result<(), Unavailable> {
        let keys = [Keys(store).epoch()];
        let (now, id) = (self.clock.now().millis(), uuid::Uuid::new_v4().simple().to_string());
        let build = |mark: &str| {
            let mut call = Script::Epoch.call(keys.iter());
            call.arg(mark).arg(now).arg(&id).arg(EPOCH_HEALTHY_MS).arg(RETENTION_MS);
            call
        };
        let Asked { reply, .. } = self.ask(store, build, 0).await?;
        let [epoch, cause] = reply.as_slice() else { return Err(Trouble::Garbled.into()) };
        let started = text::epoch_started_ms(epoch).ok_or(Trouble::WrongType)?;
        self.epochs.lock().insert(store.clone(), started);
        let cause = match cause.as_str() {
            "" => return Ok(()),
            "missing" => "missing",
            "server" => "server_changed",
            _ => "not_renewed",
        };
        tracing::warn!(%store, cause, "the ledger may have forgotten; tokens from before are refused");
        self.metrics.ledger_epochs.with_label_values(&[cause]).inc();
        // Nobody listens any more when the process ends.
        let _ = self.notices.try_send(Notice::EpochChanged { store: store.clone(), cause });
        Ok(())
    }

    /// Calls a script of ours, which answers with words.
    pub(super) async fn ask(
        &self,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Asked, Unavailable> {
        let Asked { reply, attempts } = self.send(store, build, replicas).await?;
        Ok(Asked { reply: parsed(reply)?, attempts })
    }

    /// Sends a plain command.
    pub(super) async fn ask_plain(&self, store: &StoreId, command: &Cmd) -> Result<Value, Unavailable> {
        Ok(self.send(store, |_| command.clone(), 0).await?.reply)
    }

    /// Sends a command until it is answered, within the deadline. Each sending is the same command:
    /// what the first did, the second finds.
    async fn send(
        &self,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Asked<Value>, Unavailable> {
        let begun = Instant::now();
        let until = begun + self.options.deadline;
        let (mut sendings, mut detours, mut doubtful) = (0, 0, 0);
        loop {
            let found = match self.fleet.node(store, until).await {
                Ok(node) => node.line(until).await.map(|held| (node, held)),
                Err(trouble) => Err(trouble),
            };
            let (node, held) = found.map_err(|trouble| self.failed(trouble, doubtful > 0))?;
            sendings += 1;
            // The first has less than half of the time, so that the second has the rest.
            let patience = until.saturating_duration_since(Instant::now());
            let patience = if sendings < SENDINGS_MAX { patience.min(self.options.deadline * 2 / 5) } else { patience };
            let trouble = match exchange(&held.line, &build(&held.line.server.mark), replicas, patience).await {
                Ok(reply) => return Ok(Asked { reply, attempts: doubtful + 1 }),
                Err(trouble) => trouble,
            };
            doubtful += u32::from(trouble.may_have_happened());
            if trouble.breaks_connection() {
                node.broken(&held);
            }
            let detour = matches!(trouble, Trouble::Moved | Trouble::NoScript);
            (detours, sendings) = if detour { (detours + 1, sendings - 1) } else { (detours, sendings) };
            let give_up = !trouble.worth_another_attempt() || sendings >= SENDINGS_MAX || detours >= DETOURS_MAX;
            if give_up || Instant::now() >= until {
                return Err(self.failed(trouble, doubtful > 0));
            }
            match trouble {
                Trouble::Moved => self.fleet.moved(until).await,
                Trouble::NoScript => _ = self.teach(&held.line, until).await,
                _ => {}
            }
        }
    }

    async fn teach(&self, line: &Line, until: Instant) -> Result<(), Trouble> {
        for script in Script::ALL {
            line.ask(&script.teach(), until.saturating_duration_since(Instant::now())).await?;
        }
        Ok(())
    }

    fn failed(&self, trouble: Trouble, may_have_happened: bool) -> Unavailable {
        self.metrics.ledger_errors.with_label_values(&[trouble.as_str()]).inc();
        let Unavailable { error, may_have_happened: this_one } = Unavailable::from(trouble);
        Unavailable { error, may_have_happened: may_have_happened || this_one }
    }
}

/// One sending. Where replicas have to confirm, it counts only when enough of them did.
async fn exchange(line: &Line, command: &Cmd, replicas: u32, patience: std::time::Duration) -> Result<Value, Trouble> {
    if replicas == 0 {
        return line.ask(command, patience).await;
    }
    let mut both = redis::pipe();
    both.add_command(command.clone());
    let wait_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1);
    both.cmd("WAIT").arg(replicas).arg(wait_ms);
    let mut answers = line.ask_all(&both, patience).await?.into_iter();
    let (Some(reply), Some(confirmed)) = (answers.next(), answers.next()) else { return Err(Trouble::Garbled) };
    let reply = reply.extract_error().map_err(|error| Trouble::from(&error))?;
    if parsed::<u32>(confirmed)? < replicas { Err(Trouble::TooFewReplicas) } else { Ok(reply) }
}
