//! A ledger that several gateways share, in Redis 7 or Valkey (README decision 9). One script
//! reserves in one round trip. Nothing is repaired behind our back: a connection that failed is
//! replaced, and the same command is sent once more under the same trace, so that a lost answer is
//! never taken for a replay, nor a lost burn for none.

mod ask;
mod door;
mod find;
mod fleet;
mod line;
mod node;
pub mod options;
mod scripts;
mod text;
mod trouble;
mod upkeep;
mod vet;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::decide::velocity::{Exceeded, Limits, Rule, Usage};
use crate::model::ids::{AgentId, StoreId, TraceId};
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

use super::entry::Counted;
use super::epoch::Epoch;
use super::{
    Answer, Busy, Claim, Entry, Fate, Health, Lapsed, Ledger, LedgerError, RETENTION_MS, Reservation, Reserve,
    Settlement, Slot, Spent, Standing,
};
use ask::{Asked, Unavailable};
pub use door::Door;
use fleet::Fleet;
use line::parsed;
pub use options::{Access, Address, Durability, Password, RedisOptions, Secret, Topology};
use scripts::Script;
pub use text::Full;
use text::Keys;
pub use trouble::Trouble;
use upkeep::Unsettled;

/// How far the issuer's clock may be ahead of ours.
const SKEW_S: i64 = 5;
/// How long a purpose with an unknown outcome is guarded: 24 h.
const PURPOSE_MS: i64 = 86_400_000;
/// An epoch that is renewed in time has longer to live than this. One that has less was not, or
/// the server's clock jumped ahead: then tokens may be forgotten before they expire.
const EPOCH_HEALTHY_MS: i64 = 240_000;
/// Reservations that one call finds lapsed at most.
const LAPSED_MAX: usize = 100;
/// Longest answer that is kept in the server.
const ANSWER_MAX: usize = 64 * 1024;

/// What others should be told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The ledger of this store may have forgotten; what was issued before is refused.
    EpochChanged { store: StoreId, cause: &'static str },
}

/// See the module.
pub struct RedisLedger {
    shared: Arc<Shared>,
    upkeep: JoinHandle<()>,
}

struct Shared {
    fleet: Fleet,
    options: RedisOptions,
    clock: Clock,
    metrics: Arc<Metrics>,
    notices: mpsc::Sender<Notice>,
    /// When the epochs of the known stores began, in milliseconds; 0 until it is known.
    epochs: Mutex<HashMap<StoreId, i64>>,
    unsettled: Unsettled,
}

impl Drop for RedisLedger {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl RedisLedger {
    /// Begins to connect. It never fails: what is wrong is told by [`Ledger::health`], and ends by
    /// itself when it is mended. `stores` are those whose tokens will be burned here.
    #[must_use]
    pub fn open(
        options: RedisOptions,
        stores: impl IntoIterator<Item = StoreId>,
        clock: Clock,
        metrics: Arc<Metrics>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let shared = Arc::new(Shared {
            fleet: Fleet::open(&options, &clock),
            options,
            clock,
            metrics,
            notices,
            epochs: Mutex::new(stores.into_iter().map(|store| (store, 0)).collect()),
            unsettled: Unsettled::default(),
        });
        let upkeep = tokio::spawn(upkeep::run(Arc::downgrade(&shared)));
        Self { shared, upkeep }
    }

    /// Everything that is remembered of a token.
    pub async fn show(&self, slot: &Slot) -> Result<Option<Full>, LedgerError> {
        Ok(self.shared.full(slot).await?)
    }
}

impl Shared {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, Unavailable> {
        let keys = Keys(&claim.slot.store);
        let [hour, hour_sum, day, day_sum] = keys.counts(&claim.agent);
        let names = [
            keys.token(claim.slot.namespace, claim.slot.jti),
            keys.epoch(),
            keys.reservations(),
            keys.purpose(claim.purpose),
            hour,
            hour_sum,
            day,
            day_sum,
        ];
        let now = self.clock.now().millis();
        let (trace, member) = (text::hex(claim.trace), text::member(&claim.slot, claim.trace));
        let entry = text::entry(&claim, now, &self.options.replica);
        let limit = |limit: Option<i64>| limit.map_or_else(String::new, |limit| limit.to_string());
        let build = |mark: &str| {
            let mut call = Script::Reserve.call(names.iter());
            call.arg(&trace).arg(&entry).arg(&member).arg(mark).arg(claim.issued.seconds()).arg(SKEW_S).arg(now);
            call.arg(RETENTION_MS).arg(EPOCH_HEALTHY_MS).arg(self.lease_ms()).arg(u8::from(claim.purpose.is_some()));
            call.arg(claim.confirmed.map_or_else(String::new, text::hex)).arg(PURPOSE_MS);
            call.arg(limit(claim.limits.orders_per_hour.map(i64::from))).arg(limit(claim.limits.spend_per_hour));
            call.arg(limit(claim.limits.spend_per_day)).arg(spent(&claim));
            call
        };
        let asked = self.ask_in_epoch(&claim.slot.store, build, self.replicas()).await;
        let Asked { reply, attempts } = match asked {
            Ok(asked) => asked,
            Err(unavailable) => {
                if unavailable.may_have_happened {
                    self.unsettled.push(self.reservation(claim, 2), Settlement::Released, None);
                }
                return Err(unavailable);
            }
        };
        let word = |n: usize| reply.get(n).map(String::as_str).unwrap_or_default();
        match word(0) {
            "first" => Ok(Reserve::First(self.reservation(claim, attempts))),
            "known" => Ok(Reserve::Known(read_entry(word(1))?)),
            "busy" => {
                let first = TraceId::parse(&format!("trc_{}", word(1))).ok_or(Trouble::Garbled)?;
                Ok(Reserve::Busy(Busy { first, unknown: word(2) == "1" }))
            }
            "exceeded" => Ok(Reserve::Exceeded(exceeded(&claim, word(1), word(2))?)),
            _ => Err(Trouble::Garbled.into()),
        }
    }

    fn reservation(&self, claim: Claim, attempts: u32) -> Reservation {
        let amount = spent(&claim);
        let Claim { slot, trace, purpose, agent, limits, .. } = claim;
        let counted = limits.any().then_some(Counted { agent, limits, amount });
        Reservation { slot, trace, purpose, counted, attempts }
    }

    async fn settle(
        &self,
        reservation: &Reservation,
        how: Settlement,
        answer: Option<&Answer>,
    ) -> Result<Standing, SettleFault> {
        let Reservation { slot, trace, purpose, counted, attempts } = reservation;
        let (state, standing) = match how {
            Settlement::Burned => ("B", Standing::Spent(Spent::Burned)),
            Settlement::Indeterminate => ("I", Standing::Spent(Spent::Indeterminate)),
            // A first attempt may still be on its way: taking the token back could let it land.
            Settlement::Released if *attempts > 1 => ("U", Standing::Spent(Spent::Unexecuted)),
            Settlement::Released => ("-", Standing::Unused),
        };
        let keys = Keys(&slot.store);
        let nobody = AgentId::nobody();
        let [hour, hour_sum, day, day_sum] = keys.counts(counted.as_ref().map_or(&nobody, |counted| &counted.agent));
        let names = [
            keys.token(slot.namespace, slot.jti),
            keys.reservations(),
            keys.purpose(*purpose),
            keys.answer(slot.namespace, slot.jti),
            hour,
            hour_sum,
            day,
            day_sum,
        ];
        let kept = answer.filter(|answer| how == Settlement::Burned && answer.body.len() <= ANSWER_MAX);
        let kept = kept.map(text::answer).unwrap_or_default();
        let limits = counted.as_ref().map(|counted| counted.limits).unwrap_or_default();
        let (by_hour, by_day) = (counted_by_hour(limits), limits.spend_per_day.is_some());
        let build = |_: &str| {
            let mut call = Script::Settle.call(names.iter());
            call.arg(text::hex(*trace)).arg(text::member(slot, *trace)).arg(state).arg(self.clock.now().millis());
            call.arg(u8::from(purpose.is_some())).arg(PURPOSE_MS).arg(kept.as_ref()).arg(u8::from(by_hour));
            call.arg(u8::from(by_day)).arg(counted.as_ref().map_or(0, |counted| counted.amount)).arg(RETENTION_MS);
            call
        };
        let Asked { reply, attempts } = self.ask(&slot.store, build, 0).await?;
        match reply.first().map(String::as_str) {
            Some("done") => Ok(standing),
            // The first attempt released it, and its answer was lost.
            Some("lost") if attempts > 1 && standing == Standing::Unused => Ok(standing),
            Some("lost") => Err(SettleFault::Lost),
            _ => Err(Trouble::Garbled.into()),
        }
    }

    async fn usage(&self, store: &StoreId, agent: &AgentId, issued: Timestamp) -> Result<Usage, Unavailable> {
        let keys = Keys(store);
        let [hour, hour_sum, day, day_sum] = keys.counts(agent);
        let names = [keys.epoch(), hour, hour_sum, day, day_sum];
        let build = |mark: &str| {
            let mut call = Script::Usage.call(names.iter());
            call.arg(mark).arg(EPOCH_HEALTHY_MS).arg(self.clock.now().millis());
            call
        };
        let Asked { reply, .. } = self.ask_in_epoch(store, build, 0).await?;
        let number = |n: usize| reply.get(n).and_then(|text| text.parse::<i64>().ok()).ok_or(Trouble::Garbled);
        let started = number(1)?;
        let epoch = Epoch::starting(Timestamp::of_millis(started), SKEW_S);
        if !epoch.admits(issued) {
            return Err(Unavailable::quarantine(&epoch, self.clock.now()));
        }
        Ok(Usage {
            orders_last_hour: u32::try_from(number(2)?).unwrap_or(u32::MAX),
            spent_last_hour: number(3)?,
            spent_last_day: number(4)?,
        })
    }

    async fn full(&self, slot: &Slot) -> Result<Option<Full>, Unavailable> {
        let key = Keys(&slot.store).token(slot.namespace, slot.jti);
        let value = self.ask_plain(&slot.store, redis::cmd("GET").arg(&key)).await?;
        let Some(text) = parsed::<Option<String>>(value)? else { return Ok(None) };
        Ok(Some(text::read_entry(&text).ok_or(Trouble::WrongType)?))
    }

    async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, Unavailable> {
        let key = Keys(&slot.store).answer(slot.namespace, slot.jti);
        let value = self.ask_plain(&slot.store, redis::cmd("GET").arg(&key)).await?;
        let text: Option<Vec<u8>> = parsed(value)?;
        Ok(text.and_then(|text| text::read_answer(text.into())))
    }

    /// `state`: what a reservation turns into, `I` by its own process and `L` by another.
    async fn abandon(&self, lapsed: &Lapsed, state: &str) -> Result<(bool, String), Unavailable> {
        let Lapsed { slot, trace } = lapsed;
        let keys = Keys(&slot.store);
        let purpose = self.full(slot).await?.and_then(|full| full.purpose);
        let names = [keys.token(slot.namespace, slot.jti), keys.reservations(), keys.purpose(purpose)];
        let build = |_: &str| {
            let mut call = Script::Abandon.call(names.iter());
            call.arg(text::hex(*trace)).arg(text::member(slot, *trace)).arg(state);
            call.arg(u8::from(purpose.is_some())).arg(self.clock.now().millis()).arg(PURPOSE_MS);
            call
        };
        let Asked { reply, .. } = self.ask(&slot.store, build, 0).await?;
        match reply.as_slice() {
            [taken, was] => Ok((taken == "1", was.clone())),
            _ => Err(Trouble::Garbled.into()),
        }
    }

    async fn lapsed_in(&self, store: &StoreId, found: &mut Vec<Lapsed>) -> Result<(), Unavailable> {
        let until = self.clock.now().millis() - self.lease_ms();
        let mut question = redis::cmd("ZRANGEBYSCORE");
        question.arg(Keys(store).reservations()).arg("-inf").arg(until).arg("LIMIT").arg(0);
        let value = self.ask_plain(store, question.arg(LAPSED_MAX - found.len())).await?;
        for member in parsed::<Vec<String>>(value)? {
            let Some(lapsed) = text::read_member(store, &member) else { continue };
            let (taken, was) = self.abandon(&lapsed, "L").await?;
            if taken && matches!(was.as_str(), "R" | "") {
                found.push(lapsed);
            }
        }
        Ok(())
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.options.lease.as_millis()).unwrap_or(RETENTION_MS)
    }

    /// How many replicas have to confirm a reservation.
    fn replicas(&self) -> u32 {
        match self.options.access.durability {
            Durability::Replicas(count) => count,
            Durability::Aof | Durability::Async => 0,
        }
    }
}

/// What counts of an order: its amount where money is limited. Nothing is larger than an amount.
fn spent(claim: &Claim) -> i64 {
    let limits = claim.limits;
    let by_money = limits.spend_per_hour.is_some() || limits.spend_per_day.is_some();
    if by_money { claim.amount.min(crate::model::money::Price::MINOR_MAX) } else { 0 }
}

const fn counted_by_hour(limits: Limits) -> bool {
    limits.orders_per_hour.is_some() || limits.spend_per_hour.is_some()
}

fn read_entry(text: &str) -> Result<Entry, Trouble> {
    text::read_entry(text).map(|full| full.entry).ok_or(Trouble::WrongType)
}

fn exceeded(claim: &Claim, rule: &str, counted: &str) -> Result<Exceeded, Trouble> {
    let limits = claim.limits;
    let (rule, limit) = match rule {
        "orders_hour" => (Rule::OrdersPerHour, limits.orders_per_hour.map(i64::from)),
        "spend_hour" => (Rule::SpendPerHour, limits.spend_per_hour),
        "spend_day" => (Rule::SpendPerDay, limits.spend_per_day),
        _ => return Err(Trouble::Garbled),
    };
    let counted = counted.parse().map_err(|_| Trouble::Garbled)?;
    Ok(Exceeded { rule, counted, limit: limit.ok_or(Trouble::Garbled)? })
}

/// Why a settlement is not in the ledger.
enum SettleFault {
    Lost,
    Unavailable(Unavailable),
}

impl From<Unavailable> for SettleFault {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl From<Trouble> for SettleFault {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.into())
    }
}

impl Ledger for RedisLedger {
    async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        Ok(self.shared.reserve(claim.in_its_namespace()).await?)
    }

    async fn settle(
        &self,
        reservation: Reservation,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Result<Standing, LedgerError> {
        match self.shared.settle(&reservation, how, answer.as_ref()).await {
            Ok(standing) => Ok(standing),
            Err(SettleFault::Lost) => Err(LedgerError::Lost),
            Err(SettleFault::Unavailable(unavailable)) => {
                self.shared.unsettled.push(reservation, how, answer);
                Err(unavailable.into())
            }
        }
    }

    async fn entry(&self, slot: &Slot) -> Result<Option<Entry>, LedgerError> {
        Ok(self.shared.full(slot).await?.map(|full| full.entry))
    }

    async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, LedgerError> {
        Ok(self.shared.answer(slot).await?)
    }

    async fn usage(&self, store: &StoreId, agent: &AgentId, issued: Timestamp) -> Result<Usage, LedgerError> {
        Ok(self.shared.usage(store, agent, issued).await?)
    }

    async fn abandon(&self, lapsed: &Lapsed) -> Result<Fate, LedgerError> {
        let (taken, was) = self.shared.abandon(lapsed, "I").await?;
        Ok(match was.as_str() {
            "R" | "I" => Fate::Indeterminate,
            "B" => Fate::Burned,
            "U" => Fate::Unexecuted,
            "L" => Fate::Told,
            _ if taken => Fate::Indeterminate,
            _ => Fate::Unknown,
        })
    }

    async fn lapsed(&self) -> Result<Vec<Lapsed>, LedgerError> {
        let stores: Vec<_> = self.shared.epochs.lock().keys().cloned().collect();
        let mut found = Vec::new();
        for store in stores {
            if found.len() < LAPSED_MAX {
                self.shared.lapsed_in(&store, &mut found).await?;
            }
        }
        Ok(found)
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

impl Shared {
    fn health(&self) -> Health {
        let now = self.clock.now();
        let epochs = self.epochs.lock();
        let unknown = epochs.values().any(|started| *started == 0);
        let remaining = |started: &i64| Epoch::starting(Timestamp::of_millis(*started), SKEW_S).remaining_s(now);
        let quarantine_s = epochs.values().filter(|started| **started != 0).map(remaining).max().unwrap_or(0);
        drop(epochs);
        let reading = || Err("what the ledger remembers is being read".to_owned());
        Health {
            backend: BACKEND,
            usable: self.fleet.usable().and_then(|()| if unknown { reading() } else { Ok(()) }),
            entries: 0,
            quarantine_s,
            shared: true,
            exactly_once: self.options.access.durability.is_exactly_once(),
        }
    }
}

const BACKEND: &str = "redis";
