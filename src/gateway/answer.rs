//! The way of an answer back to its caller, in the caller's own task. A caller may leave at any moment; what
//! is executed for it goes on.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::Instant;

use super::respond::response_head;
use super::state::Context;
use super::wire::AnswerHead;

/// The caller's end.
pub struct Caller<'s> {
    session: &'s mut Session,
    ctx: &'s Context,
    /// Why nothing more reaches it.
    lost: Option<Box<Error>>,
}

impl<'s> Caller<'s> {
    pub(super) fn of(session: &'s mut Session, ctx: &'s Context) -> Self {
        Self { session, ctx, lost: None }
    }

    /// True when it is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) async fn tell_head(&mut self, head: &AnswerHead, deadline: Instant) {
        let head = match response_head(head, self.ctx, self.session.req_header().version) {
            Ok(head) => head,
            Err(error) => return self.lost = Some(error),
        };
        let Self { session, lost, .. } = self;
        tell(lost, deadline, session.write_response_header(Box::new(head), false)).await;
    }

    /// A piece of the body, and whether it is the last one.
    pub(super) async fn tell_body(&mut self, piece: Option<Bytes>, is_last: bool, deadline: Instant) {
        let Self { session, lost, .. } = self;
        tell(lost, deadline, session.write_response_body(piece, is_last)).await;
    }

    /// Resolves when it leaves, and not before.
    pub(super) async fn leaves(&mut self) {
        match self.session.as_downstream_mut().read_body_or_idle(true).await {
            Err(error) => self.lost = Some(error.into_down()),
            Ok(_) => std::future::pending().await,
        }
    }

    /// Why it is gone, if it is.
    pub(super) fn lost(self) -> pingora::Result<()> {
        self.lost.map_or(Ok(()), Err)
    }
}

/// A caller who takes nothing until the deadline is gone: nothing waits for it.
async fn tell(lost: &mut Option<Box<Error>>, deadline: Instant, write: impl Future<Output = pingora::Result<()>>) {
    if lost.is_some() {
        return;
    }
    *lost = match tokio::time::timeout_at(deadline, write).await {
        Ok(written) => written.err(),
        Err(_elapsed) => Some(Error::explain(ErrorType::WriteTimedout, "the caller takes nothing")),
    };
}

/// Runs it to its end, or to a panic: `None`.
pub(super) async fn caught<T>(mut run: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_panic) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test]
    async fn a_panic_is_caught() {
        let run = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "planted");
        };
        assert_eq!(caught(pin!(run)).await, None);
        assert_eq!(caught(pin!(async { 7 })).await, Some(7));
    }
}
