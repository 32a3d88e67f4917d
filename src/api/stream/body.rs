//! The body of a stream: pulled by whoever reads it, one piece at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::frame;
use crate::api::evidence::wanted::Wanted;
use crate::evidence::{Store, StoreError, StoredEvent};
use crate::governance::Viewer;
use crate::keystore::agents::ApiKeys;
use crate::model::ids::AgentId;
use crate::reload::Reloaded;

/// Events of one question to the store.
const PAGE: usize = 100;
/// A stream that has nothing to tell says this often that it is there.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a stream goes on with a key that was revoked.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// A place in the log, and what the reader wants of it.
pub(super) struct Follow {
    pub store: Arc<Store>,
    pub keys: Arc<Reloaded<ApiKeys>>,
    pub size: watch::Receiver<u64>,
    pub stop: watch::Receiver<bool>,
    pub key: AgentId,
    pub wanted: Arc<Wanted>,
    /// The reader has everything up to here.
    pub cursor: u64,
    /// Given back when the stream ends.
    pub _turn: OwnedSemaphorePermit,
}

impl Follow {
    /// The next piece, as soon as there is one; `None` at the end of the stream.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let told = Instant::now() + ALIVE;
        while !*self.stop.borrow() {
            // The key as it is now: what it may see may have changed.
            let viewer = self.keys.snapshot().by_id(&self.key).and_then(|key| Viewer::of(&key))?;
            let size = *self.size.borrow_and_update();
            if size > self.cursor {
                match self.page(viewer).await {
                    Ok(events) => match frame::piece(&events) {
                        Some((piece, last)) => {
                            self.cursor = last;
                            return Some((piece, self));
                        }
                        // Nothing up to there is for this reader.
                        None => self.cursor = size,
                    },
                    Err(StoreError::Busy) => {}
                    Err(error) => {
                        tracing::error!(error = ?error, "a stream of events ends");
                        return None;
                    }
                }
            }
            if Instant::now() >= told {
                return Some((frame::place(self.cursor), self));
            }
            self.wait(told).await?;
        }
        None
    }

    async fn page(&self, viewer: Viewer) -> Result<Vec<StoredEvent>, StoreError> {
        let (wanted, cursor) = (self.wanted.clone(), self.cursor);
        self.store.ask(move |store| store.events(&wanted.filter(&viewer), cursor, PAGE)).await
    }

    /// Until there may be something to do; `None` when the process stops.
    async fn wait(&mut self, until: Instant) -> Option<()> {
        let until = until.min(Instant::now() + REVOKED_WITHIN);
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => None,
            grown = self.size.changed() => grown.ok(),
            () = tokio::time::sleep_until(until) => Some(()),
        }
    }
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Follow)>> + Send>>;

/// Asks the log for more when the piece before has been taken, so a slow reader holds nothing.
pub(super) struct Pulled(Option<Step>);

impl Pulled {
    /// Begins with the place, so that a reader that is cut off before its first event has one too.
    pub(super) fn begin(follow: Follow) -> Self {
        Self(Some(Box::pin(async move { Some((frame::place(follow.cursor), follow)) })))
    }
}

impl Body for Pulled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(step) = self.0.as_mut() else { return Poll::Ready(None) };
        let Some((piece, follow)) = ready!(step.as_mut().poll(context)) else {
            self.0 = None;
            return Poll::Ready(None);
        };
        self.0 = Some(Box::pin(follow.next()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
