//! `permyx evidence tail`: the events of a control plane, as they are recorded.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use clap::Args;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};

use super::Api;
use crate::cli::ask::{escaped, key_header};
use crate::cli::error::CliError;
use crate::cli::token::understood;
use crate::evidence::Body;
use crate::governance::plain;
use crate::net::client::{Client, ClientError, Following, Limits, Opened};
use crate::net::events::Blocks;

/// The control plane says that it is there every 15 s; one that is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// Between two attempts to connect again: longer and longer.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// One store; all that the key may see without it
    #[arg(long)]
    store: Option<String>,
    /// One type, such as `execution.denied`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// One reason code, such as `POLICY_DENIED`
    #[arg(long)]
    reason: Option<String>,
    /// One agent, by the id of its key
    #[arg(long)]
    agent: Option<String>,
    /// Begin with the first event of the log
    #[arg(long, conflicts_with = "cursor")]
    from_start: bool,
    /// Begin after the event with this index
    #[arg(long, value_name = "INDEX")]
    cursor: Option<u64>,
    #[command(flatten)]
    api: Api,
    /// Print each event as it was written, one a line
    #[arg(long)]
    json: bool,
}

impl TailArgs {
    fn url(&self) -> String {
        let asked = [("store", &self.store), ("type", &self.kind), ("reason", &self.reason), ("agent", &self.agent)];
        let mut pairs: Vec<_> =
            asked.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?)))).collect();
        let cursor = if self.from_start { Some(0) } else { self.cursor };
        pairs.extend(cursor.map(|cursor| format!("cursor={cursor}")));
        format!("{}/v1/evidence/stream?{}", self.api.url.trim_end_matches('/'), pairs.join("&"))
    }
}

/// Follows until it is stopped, or nobody reads any more.
pub(super) async fn run(args: &TailArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match (Tail { url: args.url(), args, place: None, out }).follow().await {
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

struct Tail<'a> {
    args: &'a TailArgs,
    url: String,
    /// The index up to which everything was printed.
    place: Option<String>,
    out: &'a mut dyn Write,
}

impl Tail<'_> {
    async fn follow(&mut self) -> Result<(), CliError> {
        let no_answer = |source| CliError::NoAnswer { url: self.args.api.url.clone(), source };
        let client = Client::new(Limits::default()).map_err(no_answer)?;
        let mut pause = AGAIN;
        loop {
            match client.follow(&self.url, self.headers()?).await {
                Ok(Opened::Stream(stream)) => {
                    pause = AGAIN;
                    self.print(stream).await?;
                }
                // Once it went well, what is not there may come back.
                Ok(Opened::Refused(answer)) if self.place.is_some() && answer.status.is_server_error() => {}
                Ok(Opened::Refused(answer)) => return understood(&self.args.api.url, &answer).map(drop),
                Err(_) if self.place.is_some() => {}
                Err(source) => return Err(CliError::NoAnswer { url: self.args.api.url.clone(), source }),
            }
            if pause == AGAIN {
                // Nobody is harmed where it cannot be told.
                let _ = writeln!(std::io::stderr(), "the connection is lost, trying again");
            }
            tokio::time::sleep(pause).await;
            pause = AGAIN_MAX.min(pause * 2);
        }
    }

    fn headers(&self) -> Result<HeaderMap, CliError> {
        let accept = (ACCEPT, HeaderValue::from_static("text/event-stream"));
        let mut headers = HeaderMap::from_iter([accept, key_header(&self.args.api.key)?]);
        let place = self.place.as_deref().and_then(|place| HeaderValue::from_str(place).ok());
        headers.extend(place.map(|place| (HeaderName::from_static("last-event-id"), place)));
        Ok(headers)
    }

    /// Prints what comes, until the connection is lost.
    async fn print(&mut self, mut stream: Following) -> Result<(), CliError> {
        let is_ours = stream.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let not_ours = || CliError::NotPermyx { url: self.args.api.url.clone(), status: 200 };
        if !is_ours {
            return Err(not_ours());
        }
        let mut blocks = Blocks::default();
        loop {
            let bytes = match stream.next(SILENCE).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) | Err(ClientError::BrokeOff { .. } | ClientError::TimedOut { .. }) => return Ok(()),
                Err(source) => return Err(CliError::NoAnswer { url: self.args.api.url.clone(), source }),
            };
            for block in blocks.feed(&bytes).map_err(|_| not_ours())? {
                if let Some(data) = &block.data {
                    let line = if self.args.json { data.clone() } else { line(data) };
                    writeln!(self.out, "{line}")?;
                }
                self.place = block.id.or(self.place.take());
            }
            self.out.flush()?;
        }
    }
}

/// Time, type, store, execution and reason.
fn line(event: &str) -> String {
    let Some(body) = Body::read(event.as_bytes()) else {
        return "an event that this version cannot read".to_owned();
    };
    let [store, reason] = [body.data.store_id, body.data.reason_code].map(|text| text.unwrap_or("-"));
    let told = format!("{:24}  {:25}  {store:12}  {}  {reason}", body.time, body.name(), body.correlation);
    plain(told.trim_end_matches("  -"))
}

#[cfg(test)]
mod tests;
