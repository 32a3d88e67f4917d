//! The steps of a token in Redis: each one script, called with the keys of its store.

use crate::decide::velocity::{Exceeded, Limits, Rule, Usage};
use crate::model::ids::{AgentId, StoreId, TraceId};
use crate::model::money::Price;
use crate::model::spell::Spelled;
use crate::model::time::Timestamp;

use super::super::entry::Counted;
use super::super::epoch::Epoch;
use super::super::{
    Answer, Busy, Claim, Entry, Lapsed, LedgerError, RETENTION_MS, Reservation, Reserve, Settlement, Slot, Spent,
    Standing,
};
use super::ask::Effort;
use super::keys::Keys;
use super::line::parsed;
use super::options::Durability;
use super::scripts::Script;
use super::text::{self, Fresh, Full, Member};
use super::upkeep::Later;
use super::{EPOCH_HEALTHY_MS, SKEW_S, Shared, Trouble};

/// How long a purpose with an unknown outcome is guarded: 24 h.
const PURPOSE_MS: i64 = 86_400_000;
/// Reservations that one call finds lapsed at most.
pub(super) const LAPSED_MAX: usize = 100;
/// Longest answer that is kept in the server.
const ANSWER_MAX: usize = 64 * 1024;

impl Shared {
    pub(super) async fn reserve(&self, claim: Claim) -> Result<Reserve, LedgerError> {
        let claim = claim.in_its_namespace();
        let keys = Keys(&claim.slot.store);
        let names = [
            keys.token(claim.slot.namespace, claim.slot.jti),
            keys.epoch(),
            keys.reservations(),
            keys.purpose(claim.purpose),
        ];
        let counts = claim.limits.any().then(|| keys.counts(&claim.agent));
        let now_ms = self.clock.now().millis();
        let entry = Fresh { claim: &claim, now_ms, replica: &self.options.replica };
        let limit = |limit: Option<i64>| limit.map_or_else(String::new, |limit| limit.to_string());
        let build = |mark: &str| {
            let mut call = Script::Reserve.call(names.into_iter().chain(counts.into_iter().flatten()));
            call.arg(text::hex(claim.trace).as_str()).arg(entry).arg(Member(&claim.slot, claim.trace)).arg(mark);
            call.arg(claim.issued.seconds()).arg(SKEW_S).arg(now_ms);
            call.arg(RETENTION_MS).arg(EPOCH_HEALTHY_MS).arg(self.lease_ms()).arg(u8::from(claim.purpose.is_some()));
            let confirmed = claim.confirmed.map(text::hex);
            call.arg(confirmed.as_ref().map_or("", Spelled::as_str)).arg(PURPOSE_MS);
            call.arg(limit(claim.limits.orders_per_hour.map(i64::from))).arg(limit(claim.limits.spend_per_hour));
            call.arg(limit(claim.limits.spend_per_day)).arg(spent(&claim));
            call
        };
        let mut ghost = Ghost { shared: self, entry, how: claim.if_unanswered, effort: self.effort(), is_owned: false };
        let reply = ghost.ask(build).await?;
        let word = |n: usize| reply.get(n).map(String::as_str).unwrap_or_default();
        let attempts = ghost.effort.attempts();
        if attempts > 1 && !matches!(word(0), "first" | "known") {
            // The call is refused, and a first sending may still be on its way.
            ghost.how = Settlement::Released;
        } else {
            // Whatever is still on its way finds the token used.
            ghost.is_owned = true;
        }
        drop(ghost);
        match word(0) {
            "first" => Ok(Reserve::First(reservation(claim, attempts))),
            "known" => Ok(Reserve::Known(read_entry(word(1))?)),
            "busy" => {
                let first = TraceId::parse(&format!("trc_{}", word(1))).ok_or(Trouble::Garbled)?;
                Ok(Reserve::Busy(Busy { first, unknown: word(2) == "1" }))
            }
            "exceeded" => Ok(Reserve::Exceeded(exceeded(&claim, word(1), word(2))?)),
            _ => Err(Trouble::Garbled.into()),
        }
    }

    pub(super) async fn settle(
        &self,
        reservation: &Reservation,
        how: Settlement,
        answer: Option<&Answer>,
        tomb: Option<&str>,
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
        let names = [
            keys.token(slot.namespace, slot.jti),
            keys.reservations(),
            keys.purpose(*purpose),
            keys.answer(slot.namespace, slot.jti),
        ];
        let counts = counted.as_ref().map(|counted| keys.counts(&counted.agent));
        let kept = answer.filter(|answer| how == Settlement::Burned && answer.body.len() <= ANSWER_MAX);
        let kept = kept.map(text::answer).unwrap_or_default();
        let limits = counted.as_ref().map(|counted| counted.limits).unwrap_or_default();
        let (by_hour, by_day) = (counted_by_hour(limits), limits.spend_per_day.is_some());
        let tomb = tomb.map_or_else(String::new, |entry| entry.replacen("1|R|", &format!("1|{state}|"), 1));
        let build = |_: &str| {
            let mut call = Script::Settle.call(names.into_iter().chain(counts.into_iter().flatten()));
            call.arg(text::hex(*trace).as_str()).arg(Member(slot, *trace)).arg(state).arg(self.clock.now().millis());
            call.arg(u8::from(purpose.is_some())).arg(PURPOSE_MS).arg(kept.as_ref()).arg(u8::from(by_hour));
            call.arg(u8::from(by_day))
                .arg(counted.as_ref().map_or(0, |counted| counted.amount))
                .arg(RETENTION_MS)
                .arg(&tomb);
            call
        };
        let mut effort = self.effort();
        let reply = self.ask(&mut effort, &slot.store, build, 0).await?;
        match reply.first().map(String::as_str) {
            Some("done") => Ok(standing),
            // The first attempt released it, and its answer was lost.
            Some("lost") if effort.attempts() > 1 && standing == Standing::Unused => Ok(standing),
            Some("lost") => Err(SettleFault::Lost),
            _ => Err(Trouble::Garbled.into()),
        }
    }

    pub(super) async fn usage(
        &self,
        store: &StoreId,
        agent: &AgentId,
        issued: Timestamp,
    ) -> Result<Usage, LedgerError> {
        let keys = Keys(store);
        let [hour, hour_sum, day, day_sum] = keys.counts(agent);
        let names = [keys.epoch(), hour, hour_sum, day, day_sum];
        let build = |mark: &str| {
            let mut call = Script::Usage.call(names.into_iter());
            call.arg(mark).arg(EPOCH_HEALTHY_MS).arg(self.clock.now().millis());
            call
        };
        let reply = self.ask_in_epoch(&mut self.effort(), store, build, 0).await?;
        let number = |n: usize| reply.get(n).and_then(|text| text.parse::<i64>().ok()).ok_or(Trouble::Garbled);
        let started = number(1)?;
        if !Epoch::starting(Timestamp::of_millis(started), SKEW_S).admits(issued) {
            return Err(self.quarantine(started));
        }
        Ok(Usage {
            orders_last_hour: u32::try_from(number(2)?).unwrap_or(u32::MAX),
            spent_last_hour: number(3)?,
            spent_last_day: number(4)?,
        })
    }

    pub(super) async fn full(&self, slot: &Slot) -> Result<Option<Full>, Trouble> {
        let key = Keys(&slot.store).token(slot.namespace, slot.jti);
        let value = self.ask_plain(&slot.store, redis::cmd("GET").arg(key)).await?;
        let Some(text) = parsed::<Option<String>>(value)? else { return Ok(None) };
        Ok(Some(text::read_entry(&text).ok_or(Trouble::WrongType)?))
    }

    pub(super) async fn answer(&self, slot: &Slot) -> Result<Option<Answer>, Trouble> {
        let key = Keys(&slot.store).answer(slot.namespace, slot.jti);
        let value = self.ask_plain(&slot.store, redis::cmd("GET").arg(key)).await?;
        let text: Option<Vec<u8>> = parsed(value)?;
        Ok(text.and_then(|text| text::read_answer(text.into())))
    }

    /// `state`: what a reservation turns into, `I` by its own process and `L` by another.
    pub(super) async fn abandon(&self, lapsed: &Lapsed, state: &str, until_ms: i64) -> Result<(bool, String), Trouble> {
        let Lapsed { slot, trace } = lapsed;
        let keys = Keys(&slot.store);
        // What cannot be read has no purpose: one bad entry must not stand in the way of all others.
        let purpose = match self.full(slot).await {
            Ok(full) => full.and_then(|full| full.purpose),
            Err(Trouble::WrongType | Trouble::Garbled) => None,
            Err(trouble) => return Err(trouble),
        };
        let names = [keys.token(slot.namespace, slot.jti), keys.reservations(), keys.purpose(purpose)];
        let build = |_: &str| {
            let mut call = Script::Abandon.call(names.into_iter());
            call.arg(text::hex(*trace).as_str()).arg(Member(slot, *trace)).arg(state);
            call.arg(u8::from(purpose.is_some())).arg(self.clock.now().millis()).arg(PURPOSE_MS).arg(until_ms);
            call
        };
        let reply = self.ask(&mut self.effort(), &slot.store, build, 0).await?;
        match reply.as_slice() {
            [taken, was] => Ok((taken == "1", was.clone())),
            _ => Err(Trouble::Garbled),
        }
    }

    pub(super) async fn lapsed_in(&self, store: &StoreId, found: &mut Vec<Lapsed>) -> Result<(), Trouble> {
        let until = self.clock.now().millis() - self.lease_ms();
        let mut question = redis::cmd("ZRANGEBYSCORE");
        question.arg(Keys(store).reservations()).arg("-inf").arg(until).arg("LIMIT").arg(0);
        let value = self.ask_plain(store, question.arg(LAPSED_MAX - found.len())).await?;
        for member in parsed::<Vec<String>>(value)? {
            let Some(lapsed) = text::read_member(store, &member) else {
                let _ = self.ask_plain(store, redis::cmd("ZREM").arg(Keys(store).reservations()).arg(&member)).await;
                continue;
            };
            if self.abandon(&lapsed, "L", until).await?.0 {
                found.push(lapsed);
            }
        }
        Ok(())
    }

    /// Takes a lapsed reservation that was told of out of the reservations.
    pub(super) async fn told(&self, lapsed: &Lapsed) -> Result<(), Trouble> {
        let key = Keys(&lapsed.slot.store).reservations();
        let member = Member(&lapsed.slot, lapsed.trace);
        self.ask_plain(&lapsed.slot.store, redis::cmd("ZREM").arg(key).arg(member)).await.map(drop)
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
    if by_money { claim.amount.min(Price::MINOR_MAX) } else { 0 }
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

fn reservation(claim: Claim, attempts: u32) -> Reservation {
    let amount = spent(&claim);
    let Claim { slot, trace, purpose, agent, limits, .. } = claim;
    let counted = limits.any().then_some(Counted { agent, limits, amount });
    Reservation { slot, trace, purpose, counted, attempts }
}

/// A reservation that was asked for and not answered yet. If the answer never comes, or nobody
/// waits for it any more, it is settled later: nothing may haunt the ledger that nobody owns.
struct Ghost<'a> {
    shared: &'a Shared,
    entry: Fresh<'a>,
    /// How it is settled then.
    how: Settlement,
    effort: Effort,
    /// True once there is nothing to settle, or somebody else does.
    is_owned: bool,
}

impl Ghost<'_> {
    async fn ask(&mut self, build: impl Fn(&str) -> redis::Cmd) -> Result<Vec<String>, LedgerError> {
        let replicas = self.shared.replicas();
        let store = &self.entry.claim.slot.store;
        let asked = self.shared.ask_in_epoch(&mut self.effort, store, build, replicas).await;
        self.is_owned = asked.is_err() && !self.effort.is_doubtful();
        asked
    }
}

impl Drop for Ghost<'_> {
    fn drop(&mut self) {
        if self.is_owned {
            return;
        }
        // Answered, and only too few replicas have it: nothing is on its way, and it can be taken back.
        let attempts = if self.effort.is_doubtful() { self.effort.attempts() } else { 2 };
        let tomb = (attempts > 1 && self.effort.is_awaited()).then(|| self.entry.to_string());
        let reservation = reservation(self.entry.claim.clone(), attempts);
        self.shared.unsettled.push(Later::ghost(reservation, self.how, tomb));
    }
}

/// Why a settlement is not in the ledger.
pub(super) enum SettleFault {
    Lost,
    Unavailable(Trouble),
}

impl From<Trouble> for SettleFault {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble)
    }
}
