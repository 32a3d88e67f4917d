//! An answer that is read while it comes, and may have no end.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Answer, ClientError};

/// What a server said to a question for a stream.
pub enum Opened {
    Stream(Following),
    /// Another status than 200.
    Refused(Answer),
}

/// The head of an answer, and a body that is still to come.
pub struct Following {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub(super) host: String,
    pub(super) body: UnsyncBoxBody<Bytes, std::io::Error>,
}

impl Following {
    /// The next bytes; `None` at the end. Whoever says nothing for `silence` is gone.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = tokio::time::timeout(silence, self.body.frame()).await;
            let gone = |_elapsed| ClientError::TimedOut { host: self.host.clone(), limit: silence };
            let Some(frame) = frame.map_err(gone)? else { return Ok(None) };
            let frame =
                frame.map_err(|source| ClientError::BrokeOff { host: self.host.clone(), source: source.into() })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All of it, at most `limit` bytes.
    pub(super) async fn whole(self, limit: usize) -> Result<Answer, ClientError> {
        let Self { status, headers, host, body } = self;
        let body =
            Limited::new(body, limit).collect().await.map_err(|source| match source.is::<LengthLimitError>() {
                true => ClientError::TooLarge { host, limit },
                false => ClientError::BrokeOff { host, source },
            })?;
        Ok(Answer { status, headers, body: body.to_bytes() })
    }
}
