//! The policies in force: one file for each store, taken all together or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::decide::policy::{Mode, Policy};
use crate::evidence::Spool;
use crate::model::document::{Problem, Problems};
use crate::model::event::{Event, EventKind};
use crate::model::ids::{StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::reload::{Files, ReadError, Reloaded, fingerprint, read_dir};
use crate::telemetry::metrics::Metrics;

/// Policies by store. A store without a file is observed and nothing else.
#[derive(Clone, Default, Debug)]
pub struct Policies {
    by_store: HashMap<StoreId, Arc<Policy>>,
    enforce_something: bool,
}

impl Policies {
    #[must_use]
    pub fn of(&self, store: &StoreId) -> Arc<Policy> {
        self.by_store.get(store).cloned().unwrap_or_else(|| Arc::new(Policy::observing(store.clone())))
    }

    #[must_use]
    pub fn knows(&self, store: &StoreId) -> bool {
        self.by_store.contains_key(store)
    }

    /// False where no request of any store can be refused by its policy.
    #[must_use]
    pub fn enforce_something(&self) -> bool {
        self.enforce_something
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.by_store.values()
    }

    /// The same with other modes for some stores.
    fn in_modes(mut self, modes: &HashMap<StoreId, Mode>) -> Self {
        for (store, mode) in modes {
            if let Some(policy) = self.by_store.get_mut(store) {
                *policy = Arc::new(policy.in_mode(*mode));
            }
        }
        self.enforce_something = self.by_store.values().any(|policy| policy.enforces_something());
        self
    }

    /// Parses a whole directory; every problem of every file at once.
    pub fn parse(files: &Files) -> Result<Self, Vec<Problems>> {
        let mut policies = Self::default();
        let mut wrong = Vec::new();
        for (path, text) in files {
            let found = match Policy::parse(text) {
                Ok(policy) if policies.knows(policy.store()) => {
                    let message = format!("a file before this one is for `{}` too", policy.store());
                    Err(vec![Problem::new(None, message, "keep one file for each store")])
                }
                other => other,
            };
            match found {
                Ok(policy) => {
                    policies.enforce_something |= policy.enforces_something();
                    policies.by_store.insert(policy.store().clone(), Arc::new(policy));
                }
                Err(problems) => wrong.push(Problems::new(path, text, problems)),
            }
        }
        if wrong.is_empty() { Ok(policies) } else { Err(wrong) }
    }
}

/// Why a change of policies was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{}", shown(.0))]
    Wrong(Vec<Problems>),
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// Without its file a store would only be observed: a lost file must not open a gate.
    #[error("the policy of `{0}` is gone; put it back, or restart to do without it")]
    Gone(StoreId),
}

fn shown(wrong: &[Problems]) -> String {
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl NotTaken {
    fn one_line(&self) -> String {
        match self {
            Self::Wrong(wrong) => wrong.iter().map(Problems::one_line).collect::<Vec<_>>().join(" | "),
            Self::Unreadable(_) | Self::Gone(_) => self.to_string(),
        }
    }
}

/// What the files say, and what is said instead.
#[derive(Default)]
struct Read {
    /// Of what was last read, taken or not.
    print: Option<Sha256>,
    /// Why it was not taken.
    problem: Option<String>,
    /// The last that was taken, as it was written.
    taken: Policies,
    /// Modes that hold instead of those of the files, until they are given up or the process ends.
    by_hand: HashMap<StoreId, Mode>,
}

/// The policies of a directory, reloaded as it changes.
pub struct PolicyBook {
    dir: Option<PathBuf>,
    current: Reloaded<Policies>,
    /// Held by whoever changes what is in force, from the first look to the last step.
    files: Mutex<Read>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl PolicyBook {
    /// Reads the directory. At start a mistake is fatal: there is nothing good to keep.
    pub fn open(dir: Option<PathBuf>, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, NotTaken> {
        let files = dir.as_ref().map(|dir| read_dir(dir, "toml")).transpose()?.unwrap_or_default();
        let policies = Policies::parse(&files).map_err(NotTaken::Wrong)?;
        let book = Self {
            dir,
            current: Reloaded::new(policies.clone()),
            files: Mutex::new(Read { print: Some(fingerprint(&files)), taken: policies, ..Read::default() }),
            clock,
            metrics,
        };
        book.count(true);
        Ok(book)
    }

    /// The policies as they are now; one snapshot for one request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Policies> {
        self.current.snapshot()
    }

    /// Why the newest files are not in force, if they are not.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.files.lock().problem.clone()
    }

    #[must_use]
    pub fn dir(&self) -> Option<&PathBuf> {
        self.dir.as_ref()
    }

    /// Reads the directory again. Changed and good: swapped in. Changed and bad: the old policies
    /// stay, and log, metric, event and readiness say so.
    pub fn reload(&self, evidence: &Spool) {
        let Some(dir) = &self.dir else { return };
        let mut files = self.files.lock();
        let read = read_dir(dir, "toml");
        // An unreadable directory has no fingerprint and is told once.
        let print = read.as_ref().map(fingerprint).ok();
        if files.print == print && (print.is_some() || files.problem.is_some()) {
            return;
        }
        let taken = read.map_err(NotTaken::from).and_then(|files| Policies::parse(&files).map_err(NotTaken::Wrong));
        let taken = taken.and_then(|policies| match self.snapshot().iter().find(|old| !policies.knows(old.store())) {
            Some(gone) => Err(NotTaken::Gone(gone.store().clone())),
            None => Ok(policies),
        });
        files.print = print;
        match taken {
            Ok(policies) => {
                (files.taken, files.problem) = (policies, None);
                self.put_in_force(&files, evidence);
                self.count(true);
            }
            Err(not_taken) => files.problem = Some(self.keep(&not_taken, evidence)),
        }
    }

    /// Puts a store into this mode on all its routes whatever its file says, or (`None`) as its file says.
    pub fn set_by_hand(&self, store: &StoreId, mode: Option<Mode>, evidence: &Spool) {
        let mut files = self.files.lock();
        match mode {
            Some(mode) => files.by_hand.insert(store.clone(), mode),
            None => files.by_hand.remove(store),
        };
        self.put_in_force(&files, evidence);
        self.tell_in_force();
    }

    #[must_use]
    pub fn is_set_by_hand(&self, store: &StoreId) -> bool {
        self.files.lock().by_hand.contains_key(store)
    }

    fn put_in_force(&self, files: &Read, evidence: &Spool) {
        let (before, policies) = (self.snapshot(), files.taken.clone().in_modes(&files.by_hand));
        for policy in policies.iter().filter(|policy| before.of(policy.store()) != **policy) {
            let mut event = self.event(EventKind::PolicyActivated, policy.store().clone());
            event.data.policy_hash = Some(policy.hash());
            event.data.enforcement = Some(policy.base().mode.as_str());
            append(evidence, &event);
            tracing::info!(store = %policy.store(), version = policy.version(), hash = %policy.hash(), "policy activated");
        }
        self.current.replace(policies);
    }

    /// What is in force stays. Answers why.
    fn keep(&self, not_taken: &NotTaken, evidence: &Spool) -> String {
        let problem = not_taken.one_line();
        tracing::error!(problem, "policy not taken, the one before stays in force");
        let mut event = Event::new(EventKind::PolicyRejected, self.clock.now(), TraceId::random());
        event.data.cause = Some(problem.chars().take(1024).collect::<String>().into());
        append(evidence, &event);
        self.count(false);
        problem
    }

    fn event(&self, kind: EventKind, store: StoreId) -> Event {
        let mut event = Event::new(kind, self.clock.now(), TraceId::random());
        event.data.store_id = Some(store);
        event
    }

    fn count(&self, taken: bool) {
        self.metrics.reloaded("policy", taken, self.clock.now());
        if taken {
            self.tell_in_force();
        }
    }

    fn tell_in_force(&self) {
        self.metrics.policy_info.reset();
        for policy in self.snapshot().iter() {
            let hash: String = policy.hash().hex().chars().take(8).collect();
            let labels = [policy.store().as_str(), policy.base().mode.as_str(), hash.as_str()];
            self.metrics.policy_info.with_label_values(&labels).set(1);
        }
    }
}

fn append(evidence: &Spool, event: &Event) {
    if let Err(error) = evidence.append(event) {
        tracing::error!(kind = event.kind.name(), %error, "event not recorded");
    }
}
