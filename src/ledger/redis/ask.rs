//! Asking the server: at most twice, under one deadline, and in an epoch that is known to be good.

use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::model::ids::StoreId;
use crate::model::time::Timestamp;

use super::super::LedgerError;
use super::super::epoch::Epoch;
use super::keys::Keys;
use super::line::{Line, parsed};
use super::scripts::Script;
use super::text;
use super::vet::CLOCK_OFF_MAX_MS;
use super::{EPOCH_HEALTHY_MS, Notice, RETENTION_MS, SKEW_S, Shared, Trouble};

/// How often a command is sent at most: again because it may be lost. Two that are not answered take
/// the whole deadline; more come only where connections break at once.
const SENDINGS_MAX: u32 = 4;
/// How often a call is begun anew because the server said what is missing: an epoch, a script, a
/// key that moved.
const DETOURS_MAX: u32 = 4;
/// Stores whose epochs are known and renewed at most.
const STORES_MAX: usize = 10_000;

/// One operation on its way: until when it may go on, and what is in doubt so far.
pub(super) struct Effort {
    until: Instant,
    /// Sendings that were never answered, and may still arrive.
    unanswered: u32,
    /// True when one of them met with silence: it may arrive later, where a broken connection has
    /// delivered what it ever will.
    silent: bool,
    /// True when the server did it, and too few replicas have it.
    unconfirmed: bool,
}

impl Effort {
    /// True when the command may have been carried out although it failed.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.unanswered > 0 || self.unconfirmed
    }

    /// True when a sending may still arrive.
    pub(super) const fn is_awaited(&self) -> bool {
        self.silent || !self.is_doubtful()
    }

    /// How often the command may reach the server in all, the last sending included.
    pub(super) const fn attempts(&self) -> u32 {
        self.unanswered + 1
    }

    fn note(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::TooFewReplicas => self.unconfirmed = true,
            trouble => {
                self.unanswered += u32::from(trouble.may_have_happened());
                self.silent |= trouble == Trouble::TimedOut;
            }
        }
    }
}

impl From<Trouble> for LedgerError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble)
    }
}

impl Shared {
    /// An operation that begins now.
    pub(super) fn effort(&self) -> Effort {
        Effort { until: Instant::now() + self.options.deadline, unanswered: 0, silent: false, unconfirmed: false }
    }

    /// Calls a script that judges by the store's epoch. `replicas`: how many have to confirm.
    pub(super) async fn ask_in_epoch(
        &self,
        effort: &mut Effort,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Vec<String>, LedgerError> {
        for _ in 0..DETOURS_MAX {
            let reply = self.ask(effort, store, &build, replicas).await?;
            match reply.first().map(String::as_str) {
                Some("epoch") => self.begin_epoch(effort, store).await?,
                Some("quarantine") => {
                    let started = reply.get(1).and_then(|text| text.parse().ok()).ok_or(Trouble::Garbled)?;
                    self.note_epoch(store, started);
                    return Err(self.quarantine(started));
                }
                _ => return Ok(reply),
            }
        }
        Err(Trouble::Refused.into())
    }

    pub(super) fn quarantine(&self, started_ms: i64) -> LedgerError {
        let epoch = Epoch::starting(Timestamp::of_millis(started_ms), SKEW_S);
        LedgerError::Quarantine { retry_after_s: epoch.remaining_s(self.clock.now()).max(1) }
    }

    fn note_epoch(&self, store: &StoreId, started_ms: i64) {
        let mut epochs = self.epochs.lock();
        if epochs.len() < STORES_MAX || epochs.contains_key(store) {
            epochs.insert(store.clone(), started_ms);
        }
    }

    /// Reads the store's epoch, and begins a new one where the ledger may have forgotten.
    pub(super) async fn begin_epoch(&self, effort: &mut Effort, store: &StoreId) -> Result<(), LedgerError> {
        let keys = [Keys(store).epoch()];
        let (now, id) = (self.clock.now().millis(), uuid::Uuid::new_v4().simple().to_string());
        let build = |mark: &str| {
            let mut call = Script::Epoch.call(keys.into_iter());
            call.arg(mark).arg(now).arg(&id).arg(EPOCH_HEALTHY_MS).arg(RETENTION_MS).arg(CLOCK_OFF_MAX_MS);
            call
        };
        let reply = self.ask(effort, store, build, 0).await?;
        let [epoch, cause] = reply.as_slice() else { return Err(Trouble::Garbled.into()) };
        if cause == "clock" {
            return Err(Trouble::Unsafe.into());
        }
        let started = text::epoch_started_ms(epoch).ok_or(Trouble::WrongType)?;
        self.note_epoch(store, started);
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
        effort: &mut Effort,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Vec<String>, Trouble> {
        parsed(self.send(effort, store, build, replicas).await?)
    }

    /// Sends a plain command.
    pub(super) async fn ask_plain(&self, store: &StoreId, command: &Cmd) -> Result<Value, Trouble> {
        self.send(&mut self.effort(), store, |_| command.clone(), 0).await
    }

    /// Sends a command until it is answered, within the deadline. Each sending is the same command:
    /// what the first did, the second finds.
    async fn send(
        &self,
        effort: &mut Effort,
        store: &StoreId,
        build: impl Fn(&str) -> Cmd,
        replicas: u32,
    ) -> Result<Value, Trouble> {
        let until = effort.until;
        let (mut sendings, mut detours) = (0, 0);
        loop {
            let found = match self.fleet.node(store, until).await {
                Ok(node) => node.line(until).await.map(|held| (node, held)),
                Err(trouble) => Err(trouble),
            };
            let (node, held) = found.map_err(|trouble| self.failed(trouble))?;
            sendings += 1;
            // The first has less than half of the time, so that the second has the rest.
            let patience = until.saturating_duration_since(Instant::now());
            let patience = if sendings == 1 { patience.min(self.options.deadline * 2 / 5) } else { patience };
            let trouble = match exchange(&held.line, &build(&held.line.server.mark), replicas, patience).await {
                Ok(reply) => return Ok(reply),
                Err(trouble) => trouble,
            };
            effort.note(trouble);
            if trouble.breaks_connection() {
                node.broken(&held);
            }
            let detour = matches!(trouble, Trouble::Moved | Trouble::NoScript);
            (detours, sendings) = if detour { (detours + 1, sendings - 1) } else { (detours, sendings) };
            let give_up = !trouble.worth_another_attempt() || sendings >= SENDINGS_MAX || detours >= DETOURS_MAX;
            if give_up || Instant::now() >= until {
                return Err(self.failed(trouble));
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

    fn failed(&self, trouble: Trouble) -> Trouble {
        self.metrics.ledger_errors.with_label_values(&[trouble.as_str()]).inc();
        trouble
    }
}

/// One sending. Where replicas have to confirm, it counts only when enough of them did.
async fn exchange(line: &Line, command: &Cmd, replicas: u32, patience: std::time::Duration) -> Result<Value, Trouble> {
    if replicas == 0 {
        return line.ask(command, patience).await;
    }
    let mut both = redis::pipe();
    both.add_command(command.clone());
    // The server gives up a little earlier than we do, so that its answer is heard.
    let wait_ms = u64::try_from((patience * 4 / 5).as_millis()).unwrap_or(u64::MAX).max(1);
    both.cmd("WAIT").arg(replicas).arg(wait_ms);
    let mut answers = line.ask_all(&both, patience).await?.into_iter();
    let (Some(reply), Some(confirmed)) = (answers.next(), answers.next()) else { return Err(Trouble::Garbled) };
    let reply = reply.extract_error().map_err(|error| Trouble::from(&error))?;
    if parsed::<u32>(confirmed)? < replicas { Err(Trouble::TooFewReplicas) } else { Ok(reply) }
}
