//! `/validate`: the whole execution without a request to send. The burn is the execution.

use crate::decide::Facts;
use crate::ledger::Settlement;
use crate::model::ids::TraceId;
use crate::protocol::order::OrderFacts;
use crate::token::verify::Presented;

use super::cart::Cart;
use super::execute::{Ending, Holder};
use super::retry::{Asked, Second};
use super::{Authority, Call, Refused};

/// A token that may be executed, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validated {
    /// It is burned now, by this call.
    Now,
    /// It was burned by this call's first sending, whose answer was lost: the same Idempotency-Key
    /// for the same request.
    Before { first: TraceId },
}

impl Authority {
    /// Judges and burns a token. With the Idempotency-Key of an earlier call it tells that call's
    /// answer again; without one a second call is a replay (contract.md).
    pub async fn validate(
        &self,
        call: &Call,
        token: Presented<'_>,
        holder: Holder<'_>,
        asked: &Asked<'_>,
    ) -> Result<Validated, Refused> {
        let mark = self.front.mark(token);
        let known = self.known_burned(call, mark, asked.key.as_ref());
        if let Some(known) = known.filter(|known| holder.may_use(known.token.agent())) {
            let (cart, refused) = (Cart::one(known.token, mark), known.denial.into());
            self.refuse(call, Some(&cart), &refused);
            return Err(refused);
        }
        let (cart, cleared) = match self.verify(token, call) {
            Ok(token) => {
                let cart = Cart::one(token, mark);
                let cleared = self.clear(call, &cart, Facts::NotVisible, holder, asked).await;
                (cart, cleared)
            }
            Err((denial, Some(expired))) => (Cart::one(*expired, mark), Err(denial.into())),
            Err((denial, None)) => {
                let refused = denial.into();
                self.refuse(call, None, &refused);
                return Err(refused);
            }
        };
        let refused = match cleared {
            Ok(clearance) => {
                let ending = Ending {
                    settlement: Settlement::Burned,
                    status: None,
                    cause: "validated".into(),
                    order: OrderFacts::default(),
                    client_gone: false,
                };
                let _ = self.settle(call, &cart, clearance, &ending, None).await;
                return Ok(Validated::Now);
            }
            // What became of a token is told to whoever may use it, and to nobody else.
            Err(refused @ Refused::Denied(_)) if holder.may_use(cart.leader().agent()) => {
                self.retried(call, &cart, asked).await.unwrap_or(refused)
            }
            Err(refused) => refused,
        };
        self.refuse(call, Some(&cart), &refused);
        match refused {
            Refused::Second(Second::Answered { first, .. }) => Ok(Validated::Before { first }),
            refused => Err(refused),
        }
    }
}
