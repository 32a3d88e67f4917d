//! `permyx token`: ask a control plane for an execution token, as an agent does.

use std::fmt;
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::model::ids::{NotAnId, ProductId, StoreId, VariantId};
use crate::model::intent::Quantity;
use crate::model::money::Price;
use crate::model::scope::Scope;
use crate::net::client::{Answer, Client, Limits};

use super::ask::post;
use super::error::{CliError, Refusal};

pub(super) const AUTHORIZE: &str = "/agents/v1/exec/authorize";

/// Execution tokens.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Ask for a token and print it. The defaults are those of `permyx dev`.
    #[command(after_help = "Examples:\n  TOKEN=$(permyx token request)\n  \
                            permyx token request --store store-123 --variant shopify:variant:123456 \
                            --quantity 1 --price \"29.99 USD\" --json")]
    Request(RequestArgs),
}

#[derive(Debug, Args)]
struct RequestArgs {
    #[command(flatten)]
    intent: IntentArgs,
    /// Print the whole answer as JSON, not the token alone.
    #[arg(long)]
    json: bool,
}

// What is to be bought, and who says so to whom. A flattened struct has no comment of its own: it would
// stand for that of the verb.
#[derive(Clone, Debug, Args)]
pub(super) struct IntentArgs {
    /// Where the control plane is.
    #[arg(long, env = "PERMYX_URL", default_value = "http://127.0.0.1:8481")]
    pub url: String,
    /// The agent's API key.
    #[arg(long, env = "PERMYX_API_KEY", hide_env_values = true, default_value = "permyx_agent_YOUR_KEY")]
    pub key: String,
    #[arg(long, default_value = "store-123", value_parser = store)]
    pub store: StoreId,
    #[arg(long, default_value = "shopify:variant:123456", value_parser = variant)]
    pub variant: VariantId,
    /// The product in the catalog of Permyx.
    #[arg(long, default_value = "permyx:product:demo", value_parser = product)]
    pub product: ProductId,
    /// Pieces, 1 to 50.
    #[arg(long, visible_alias = "qty", default_value = "1", value_parser = quantity)]
    pub quantity: Quantity,
    /// Unit price with its currency.
    #[arg(long, default_value = "29.99 USD", value_parser = price)]
    pub price: Price,
}

impl IntentArgs {
    pub(super) async fn authorize(&self, client: &Client) -> Result<Answer, CliError> {
        post(client, &self.url, AUTHORIZE, &self.key, self.body()).await
    }

    /// The request's body. Every part is an id or a number: none needs escaping.
    fn body(&self) -> String {
        let Self { store, variant, product, quantity, price, .. } = self;
        format!(
            r#"{{"storeId":"{store}","permyxProductId":"{product}","sourceVariantId":"{variant}","quantity":{quantity},"price":{{"amount":{},"currency":"{}"}},"scope":"{}"}}"#,
            price.major(),
            price.currency(),
            Scope::AgentExec,
        )
    }
}

impl fmt::Display for IntentArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, variant, quantity, price, .. } = self;
        write!(f, "{quantity} × {variant} at {price} in {store}")
    }
}

/// Runs the verb and writes the token.
pub async fn run(args: &TokenArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let TokenCommand::Request(RequestArgs { intent, json }) = &args.command;
    let no_answer = |source| CliError::NoAnswer { url: intent.url.clone(), source };
    let client = Client::new(Limits::default()).map_err(no_answer)?;
    let answer = intent.authorize(&client).await?;
    let value = understood(&intent.url, &answer)?;
    match value.get("executionToken").and_then(Value::as_str) {
        Some(_) if *json => writeln!(out, "{value}")?,
        Some(token) => writeln!(out, "{token}")?,
        None => return Err(CliError::NotPermyx { url: intent.url.clone(), status: answer.status.as_u16() }),
    }
    Ok(())
}

/// The answer's body, or the refusal that it tells of.
pub(super) fn understood(url: &str, answer: &Answer) -> Result<Value, CliError> {
    let status = answer.status.as_u16();
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let text = |pointer: &str| value.as_ref()?.pointer(pointer)?.as_str().map(str::to_owned);
    match (&value, text("/error/code")) {
        (Some(value), _) if status == 200 => Ok(value.clone()),
        (_, Some(code)) => Err(CliError::Refused(Refusal {
            status,
            code,
            message: text("/error/message").unwrap_or_default(),
            next: text("/next"),
            trace: text("/traceId"),
        })),
        _ => Err(CliError::NotPermyx { url: url.to_owned(), status }),
    }
}

fn store(text: &str) -> Result<StoreId, NotAnId> {
    StoreId::parse(text)
}

fn variant(text: &str) -> Result<VariantId, NotAnId> {
    VariantId::parse(text)
}

fn product(text: &str) -> Result<ProductId, NotAnId> {
    ProductId::parse(text)
}

fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).ok_or_else(|| format!("write a whole number from 1 to {}", Quantity::MAX))
}

/// `29.99 USD`; the space may be left out.
fn price(text: &str) -> Result<Price, String> {
    let split = text.len().checked_sub(3).and_then(|at| text.split_at_checked(at));
    let price = split.and_then(|(amount, code)| Price::parse_text(&format!("{} {code}", amount.trim_end())));
    price.filter(|price| price.minor() > 0).ok_or_else(|| "write amount and currency, like \"29.99 USD\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TokenArgs,
    }

    async fn said(line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["token", "request"].iter().chain(line)).unwrap();
        let mut out = Vec::new();
        run(&command.args, &mut out).await.map(|()| String::from_utf8(out).unwrap())
    }

    /// Answers one request; yields its URL and the request.
    async fn answering(status: u16, body: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let mut chunk = [0; 4096];
                let read = stream.read(&mut chunk).await.unwrap();
                asked.extend_from_slice(&chunk[..read]);
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, asked)
    }

    #[tokio::test]
    async fn the_token_is_printed_alone() {
        let (url, asked) = answering(200, r#"{"executionToken":"a.b.c","traceId":"trc_1"}"#).await;
        assert_eq!(said(&["--url", &url, "--price", "5000 JPY", "--key", "permyx_agent_x"]).await.unwrap(), "a.b.c\n");
        let asked = asked.await.unwrap();
        let (head, body) = asked.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /agents/v1/exec/authorize ") && head.contains("x-api-key: permyx_agent_x"),
            "{head}"
        );
        assert_eq!(
            body,
            r#"{"storeId":"store-123","permyxProductId":"permyx:product:demo","sourceVariantId":"shopify:variant:123456","quantity":1,"price":{"amount":5000,"currency":"JPY"},"scope":"agent_exec"}"#
        );
        let (url, _asked) = answering(200, r#"{"executionToken":"a.b.c"}"#).await;
        assert_eq!(said(&["--url", &url, "--json"]).await.unwrap(), "{\"executionToken\":\"a.b.c\"}\n");
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_do() {
        let body = r#"{"error":{"code":"POLICY_DENIED","message":"no"},"next":"ask","traceId":"trc_1"}"#;
        let (url, _asked) = answering(403, body).await;
        let error = said(&["--url", &url]).await.unwrap_err();
        assert_eq!(error.report(), "error: refused: POLICY_DENIED: no\n  next: ask\n  trace: trc_1");
        assert_eq!(error.exit() as i32, 1);
        let (url, _asked) = answering(503, r#"{"error":{"code":"LEDGER_QUARANTINE","message":"wait"}}"#).await;
        assert_eq!(said(&["--url", &url]).await.unwrap_err().exit() as i32, 3);
    }

    #[tokio::test]
    async fn nobody_or_somebody_else_there_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let nobody = said(&["--url", &url]).await.unwrap_err();
        assert!(nobody.report().contains("permyx dev") && nobody.exit() as i32 == 4, "{}", nobody.report());
        let (url, _asked) = answering(404, "<html>").await;
        let other = said(&["--url", &url]).await.unwrap_err();
        assert!(other.report().contains("check --url") && other.exit() as i32 == 4, "{}", other.report());
        assert_eq!(said(&["--url", "localhost"]).await.unwrap_err().exit() as i32, 2);
    }

    #[test]
    fn a_price_is_read_with_or_without_its_space() {
        assert_eq!(price("29.99USD"), price("29.99 USD"));
        for bad in ["", "USD", "29.99", "29.999 USD", "0.00 USD", "29.99 usd", "€29"] {
            assert!(price(bad).is_err(), "{bad:?}");
        }
    }
}
