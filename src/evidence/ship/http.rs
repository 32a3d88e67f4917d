//! A control plane as a receiver: `POST /v1/evidence/streams/{identity}`.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Receiver, Refused};
use crate::net::client::{Client, ClientError, Limits};

/// How long a delivery may take, with the commit at the other end.
const TIME: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_MAX: usize = 16 << 10;
/// Longest key file.
const KEY_MAX: u64 = 4096;
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The next sequence of a stream that was set back.
pub const WENT_BACK: HeaderName = HeaderName::from_static("permyx-went-back");
/// The type of a delivery's body: records as they stand in a spool.
pub const RECORDS: &str = "application/vnd.permyx.spool";

/// A control plane that takes events.
pub struct ControlPlane {
    client: Client,
    url: String,
    key_file: PathBuf,
}

impl ControlPlane {
    /// `base` is its address, such as `https://permyx.internal:8481`; the file holds the key of a gateway.
    pub fn new(base: &str, key_file: PathBuf, stream: &str) -> Result<Self, ClientError> {
        let client = Client::new(Limits { time: TIME, body: ANSWER_MAX })?;
        let url = format!("{}/v1/evidence/streams/{stream}", base.trim_end_matches('/'));
        Ok(Self { client, url, key_file })
    }

    /// Read each time, so that a new key is taken without a restart.
    fn key(&self) -> Result<HeaderValue, Refused> {
        let cannot = |why: String| Refused::Unreachable(format!("the key file `{}` {why}", self.key_file.display()));
        let length =
            std::fs::metadata(&self.key_file).map_err(|error| cannot(format!("cannot be read: {error}")))?.len();
        if length > KEY_MAX {
            return Err(cannot("is longer than any key".to_owned()));
        }
        let text =
            std::fs::read_to_string(&self.key_file).map_err(|error| cannot(format!("cannot be read: {error}")))?;
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| cannot("holds no key".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[derive(Deserialize)]
struct Answer {
    next: u64,
}

#[derive(Deserialize)]
struct Told {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    message: String,
}

impl Receiver for ControlPlane {
    async fn deliver(&self, records: Vec<u8>, went_back: Option<u64>) -> Result<u64, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(API_KEY, self.key()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(RECORDS));
        if let Some(next) = went_back {
            headers.insert(WENT_BACK, next.into());
        }
        let answered = self.client.post(&self.url, headers, records.into()).await;
        let answer = answered.map_err(|error| Refused::Unreachable(chain(&error)))?;
        let status = answer.status.as_u16();
        if status != 200 {
            let told = serde_json::from_slice::<Told>(&answer.body);
            let message = told.map_or_else(|_| "no reason".to_owned(), |told| told.error.message);
            return Err(Refused::Answered { status, message: message.chars().filter(|c| !c.is_control()).collect() });
        }
        let answer: Answer =
            serde_json::from_slice(&answer.body).map_err(|error| Refused::Unreadable(error.to_string()))?;
        Ok(answer.next)
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
