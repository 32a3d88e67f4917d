//! Limits of a wait that cost nothing where nothing has to be waited for: most bytes are there when they are asked
//! for, and go when they are sent.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

/// As [`timeout`], from the moment at which the step is not done at once.
pub(super) async fn within<T>(most: Duration, step: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut step = pin!(step);
    match poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(most, step).await,
    }
}

/// As [`timeout_at`]; a step that is done at once is never too late.
pub(super) async fn until<T>(deadline: Instant, step: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut step = pin!(step);
    match poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout_at(deadline, step).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_waited_for_is_limited() {
        let long = Duration::from_secs(60);
        let began = Instant::now();
        assert_eq!(within(long, async { 7 }).await.unwrap(), 7);
        assert_eq!(until(began, async { 7 }).await.unwrap(), 7);
        assert!(within(long, pending::<()>()).await.is_err());
        assert_eq!(began.elapsed(), long);
        assert!(until(began + 2 * long, pending::<()>()).await.is_err());
        assert_eq!(began.elapsed(), 2 * long);
        assert_eq!(within(long, tokio::time::sleep(long / 2)).await.unwrap(), ());
    }
}
