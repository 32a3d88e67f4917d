//! The reservations of a cart: taken one after the other in the order of the tokens' ids, and ended
//! together. Two carts with a token in common cannot wait for each other: nobody waits.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::clock::Monotonic;
use crate::decide::policy::Mode;
use crate::decide::velocity::Limits;
use crate::decide::{self, Permit};
use crate::ledger::retry::Again;
use crate::ledger::{
    Answer, Claim, Ledger, LedgerError, Reservation, Reserve, Retry, Settlement, Spent, Standing, State,
};
use crate::model::ids::Jti;
use crate::model::several::Several;
use crate::telemetry::traces::Part;

use super::cart::{Cart, Held};
use super::execute::TokenState;
use super::retry::{Asked, Second};
use super::{Authority, Call, Passage, Refused};

/// How the ledger took the end of a reservation.
pub(super) type Settled = (Jti, Result<Standing, LedgerError>);

impl Authority {
    /// Reserves all tokens, or none: where one is refused, those before it go back. The first one
    /// stands for the whole order: it alone has its purpose and is counted, so that nothing is
    /// counted twice and its release gives everything back.
    pub(super) async fn reserve(
        &self,
        call: &Call,
        cart: &Cart,
        permit: &Permit,
        asked: &Asked<'_>,
    ) -> Result<Several<Reservation>, Refused> {
        // In observe mode nothing is refused, so nothing may use up what enforcement counts.
        let enforced = call.rules.mode == Mode::Enforce;
        let (turns, retry) = (cart.in_turn(), asked.retry(call, cart));
        let order = Claim {
            purpose: asked.purpose(call, permit.agent()).filter(|_| enforced),
            confirmed: asked.confirmed,
            limits: if enforced { permit.limits() } else { Limits::default() },
            amount: permit.amount(),
            ..self.claim(call, turns.first(), permit, retry)
        };
        let mut taken = Several::one(self.take(call, turns.first(), permit, order).await?);
        for held in turns.more() {
            match self.take(call, held, permit, self.claim(call, held, permit, retry)).await {
                Ok(reservation) => taken.push(reservation),
                Err(refused) => return Err(self.none_of(call, taken, refused).await),
            }
        }
        Ok(taken)
    }

    /// Gives back what was taken before a token was refused. What does not go back is told, but not
    /// of a ledger that says nothing of either.
    async fn none_of(&self, call: &Call, taken: Several<Reservation>, refused: Refused) -> Refused {
        if let Refused::Cannot(_) = refused {
            self.end(call, taken, self.if_unanswered(call), None).await;
            return refused;
        }
        match TokenState::worst(&self.end(call, taken, Settlement::Released, None).await) {
            TokenState::Unused => refused,
            state => Refused::Spoiled(Box::new(refused), state),
        }
    }

    fn claim(&self, call: &Call, held: &Held, permit: &Permit, retry: Option<Retry>) -> Claim {
        Claim {
            slot: call.slot(&held.token),
            trace: call.trace,
            issued: held.token.issued(),
            agent: permit.agent().clone(),
            retry,
            purpose: None,
            confirmed: None,
            limits: Limits::default(),
            amount: 0,
            if_unanswered: self.if_unanswered(call),
        }
    }

    /// A call that passes unjudged all the same executes something nobody can tell of.
    fn if_unanswered(&self, call: &Call) -> Settlement {
        match self.outage(call) {
            Passage::Closed => Settlement::Released,
            Passage::Bypass => Settlement::Indeterminate,
        }
    }

    async fn take(&self, call: &Call, held: &Held, permit: &Permit, claim: Claim) -> Result<Reservation, Refused> {
        let (slot, retry) = (claim.slot.clone(), claim.retry);
        let started = self.clock.monotonic();
        let found = self.ledger.reserve(claim).await;
        self.count_reserve(call, &found, started);
        match found? {
            Reserve::First(reservation) => Ok(reservation),
            Reserve::Known(entry) => {
                if (entry.state, call.rules.mode) == (State::Spent(Spent::Burned), Mode::Enforce) {
                    self.front.remember(held.mark, &held.token, entry.first);
                }
                Err(match self.second(&slot, Again::of(&entry, retry.as_ref())).await {
                    Refused::Denied(denial) => denial.about(&held.token).into(),
                    other => other,
                })
            }
            Reserve::Busy(busy) => Err(Refused::Busy(Second::from(busy))),
            Reserve::Exceeded(exceeded) => Err(decide::over_limit(exceeded, permit, &call.policy).into()),
        }
    }

    /// Settles all reservations in one way. The answer is kept with the first: a retry asks there.
    pub(super) async fn end(
        &self,
        call: &Call,
        reservations: Several<Reservation>,
        how: Settlement,
        answer: Option<Answer>,
    ) -> Several<Settled> {
        let (first, more) = reservations.split();
        let mut ended = Several::one(self.end_one(call, first, how, answer).await);
        let more = more.into_iter().map(|reservation| Box::pin(self.end_one(call, reservation, how, None)));
        for settled in together(more.collect()).await {
            ended.push(settled);
        }
        ended
    }

    async fn end_one(&self, call: &Call, reservation: Reservation, how: Settlement, answer: Option<Answer>) -> Settled {
        let jti = reservation.slot().jti;
        let started = self.clock.monotonic();
        let settled = self.ledger.settle(reservation, how, answer).await;
        let seconds = self.took(call, Part::Ledger, started);
        self.metrics.ledger_duration.with_label_values(&[self.ledger.backend(), "settle"]).observe(seconds);
        let labels = [self.ledger.backend(), "settle", how.as_str()];
        self.metrics.ledger_operations.with_label_values(&labels).inc();
        if let Err(error) = &settled {
            tracing::error!(trace = %call.trace, %error, settlement = how.as_str(), "settlement not in the ledger");
        }
        (jti, settled)
    }

    fn count_reserve(&self, call: &Call, found: &Result<Reserve, LedgerError>, started: Monotonic) {
        let backend = self.ledger.backend();
        let result = match found {
            Ok(Reserve::First(_)) => "first",
            Ok(Reserve::Known(_)) => "known",
            Ok(Reserve::Busy(_)) => "busy",
            Ok(Reserve::Exceeded(_)) => "exceeded",
            Err(_) => "error",
        };
        self.metrics.ledger_operations.with_label_values(&[backend, "reserve", result]).inc();
        let seconds = self.took(call, Part::Ledger, started);
        self.metrics.ledger_duration.with_label_values(&[backend, "reserve"]).observe(seconds);
    }
}

/// Waits for all of them at once: a ledger that does not answer is waited for once. What they give
/// stands in their order.
async fn together<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<(F, Option<F::Output>)> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|context| {
        for (future, output) in all.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = Pin::new(future).poll(context) {
                *output = Some(ready);
            }
        }
        if all.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Denial;
    use crate::model::reason::ReasonCode;

    /// The last of them is ready first.
    #[tokio::test]
    async fn those_that_are_waited_for_together_stay_in_order() {
        let slow = |turns: usize| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            turns
        };
        let three = [3, 2, 0].map(|turns| Box::pin(slow(turns)));
        assert_eq!(together(three.into()).await, [3, 2, 0]);
        assert_eq!(together(Vec::<std::future::Ready<()>>::new()).await, []);
    }

    /// A promise that cannot be kept is not made: a refusal uses no token up, or says so.
    #[test]
    fn the_token_that_is_worst_off_is_told() {
        let settled = |settled| (Jti::random(), settled);
        let unused = || settled(Ok(Standing::Unused));
        let spent = || settled(Ok(Standing::Spent(Spent::Unexecuted)));
        let lost = || settled(Err(LedgerError::Lost));
        let worst = |ended: Vec<Settled>| TokenState::worst(&Several::of(ended).unwrap()).as_str();
        assert_eq!(worst(vec![unused(), unused()]), "unused");
        assert_eq!(worst(vec![unused(), spent(), unused()]), "spent_unexecuted");
        assert_eq!(worst(vec![lost(), spent(), unused()]), "reserved");
        let replay = Refused::from(Denial::of(ReasonCode::ReplayDetected));
        let spoiled = Refused::Spoiled(Box::new(replay), TokenState::Spent(Spent::Unexecuted)).refusal();
        assert_eq!((spoiled.code.as_str(), spoiled.token_state), ("REPLAY_DETECTED", Some("spent_unexecuted")));
    }
}
