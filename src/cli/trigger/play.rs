//! How each scenario goes.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::model::intent::Quantity;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::revocation::Kind;
use crate::net::client::{Answer, Client, Limits};

use super::super::ask::{json_headers, post};
use super::super::error::CliError;
use super::super::token::{AUTHORIZE, IntentArgs, understood};
use super::TriggerArgs;
use super::scenario::Scenario;
use super::told::{Must, Story};
use super::wait::{asks, claims, left, wait};

const INTROSPECT: &str = "/agents/v1/exec/introspect";
const REVOCATIONS: &str = "/v1/revocations";
const TOKEN: HeaderName = HeaderName::from_static("permyx-execution-token");
/// Longer than a gateway waits for a merchant that says nothing.
const PATIENCE: Duration = Duration::from_secs(90);
/// How soon a revocation is promised to be in force in every process.
const REVOKED: Duration = Duration::from_secs(1);

/// Why a scenario ends before its end.
pub(super) enum Stop {
    /// An answer was not what it must be.
    NotHeld,
    Failed(CliError),
}

impl<E: Into<CliError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) struct Player<'a> {
    args: &'a TriggerArgs,
    api: Client,
    gateway: Client,
    pub story: Story<'a>,
}

impl<'a> Player<'a> {
    pub(super) fn new(args: &'a TriggerArgs, story: Story<'a>) -> Result<Self, CliError> {
        let client =
            |limits| Client::new(limits).map_err(|source| CliError::NoAnswer { url: args.intent.url.clone(), source });
        let api = client(Limits::default())?;
        let gateway = client(Limits { time: PATIENCE, ..Limits::default() })?;
        Ok(Self { args, api, gateway, story })
    }

    pub(super) async fn play(&mut self, scenario: Scenario) -> Result<(), Stop> {
        match scenario {
            Scenario::Allowed => self.allowed().await.map(drop),
            Scenario::Denied => self.denied().await,
            Scenario::Replay => self.replay().await,
            Scenario::Mismatch => self.mismatch().await,
            Scenario::Tokenless => self.tokenless().await,
            Scenario::Expired => self.expired().await,
            Scenario::Revoked => self.revoked().await,
            Scenario::LedgerDown => self.ledger_down().await,
            Scenario::MerchantDown => self.merchant_down().await,
            Scenario::UpstreamTimeout => self.upstream_timeout().await,
            // It is played as its parts.
            Scenario::All => Ok(()),
        }
    }

    async fn allowed(&mut self) -> Result<String, Stop> {
        let token = self.token().await?;
        self.buy("buy exactly that, with the token", Some(&token), &[Must::Pass("allowed")]).await?;
        Ok(token)
    }

    async fn replay(&mut self) -> Result<(), Stop> {
        let token = self.allowed().await?;
        self.buy("the same request once more", Some(&token), &[Must::reason(ReasonCode::ReplayDetected)]).await
    }

    /// The most that can be asked for is more than any usual policy allows.
    async fn denied(&mut self) -> Result<(), Stop> {
        let intent = &self.args.intent;
        let most = Quantity::new(i64::from(Quantity::MAX)).unwrap_or(intent.quantity);
        let asked = IntentArgs { quantity: most, ..intent.clone() };
        self.authorize(&asked, Must::reason(ReasonCode::PolicyDenied)).await.map(drop)
    }

    async fn mismatch(&mut self) -> Result<(), Stop> {
        let token = self.token().await?;
        let authorised = i64::from(self.args.intent.quantity.get());
        let Some(other) = Quantity::new(authorised + 1).or(Quantity::new(authorised - 1)) else { return Ok(()) };
        let does = format!("buy {other} with it");
        let must = [Must::reason(ReasonCode::IntentMismatch)];
        self.send(&does, Some(&token), &self.cart(other), &must).await?;
        self.is_unused(&token).await
    }

    async fn tokenless(&mut self) -> Result<(), Stop> {
        let must = [Must::Pass("observed"), Must::reason(ReasonCode::NoToken)];
        self.buy("buy without a token, as a shopper does", None, &must).await
    }

    async fn expired(&mut self) -> Result<(), Stop> {
        let (token, left) = match &self.args.expired_token {
            Some(token) => (token.clone(), left(token, Some(&Clock::system()))),
            None => {
                let token = self.token().await?;
                let left = left(&token, None);
                (token, left)
            }
        };
        wait(left).await;
        self.buy("buy with the token that has expired", Some(&token), &[Must::reason(ReasonCode::TokenExpired)]).await
    }

    async fn revoked(&mut self) -> Result<(), Stop> {
        let key = self.args.operator_key.as_deref().ok_or(CliError::NoOperator)?;
        let token = self.token().await?;
        let url = &self.args.intent.url;
        let claims = claims(&token);
        let jti = claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        let body = json!({ "subject": format!("token:{jti}"), "reason": "permyx trigger" }).to_string();
        let answer = post(&self.api, url, REVOCATIONS, key, body).await?;
        self.hold("revoke the token".to_owned(), at(url, REVOCATIONS), &answer, &[Must::Done])?;
        tokio::time::sleep(REVOKED).await;
        self.buy("buy with it a second later", Some(&token), &[Must::RefuseBy(Kind::Token.rule())]).await
    }

    async fn ledger_down(&mut self) -> Result<(), Stop> {
        let token = self.token().await?;
        let person = "Stop the Redis of the gateway's [ledger.redis], as with `systemctl stop redis-server`, \
                      `docker stop NAME` or `redis-cli -p PORT shutdown nosave`.\n     \
                      `permyx dev` has none: its ledger is in itself.";
        self.broken(person).await?;
        self.buy("buy without the ledger", Some(&token), &[Must::fault(Fault::LedgerUnavailable)]).await
    }

    async fn merchant_down(&mut self) -> Result<(), Stop> {
        let token = self.token().await?;
        let person = "Stop the merchant behind the gateway, so that nobody listens there.\n     \
                      That of `permyx dev` cannot be: it is in the same process.";
        self.broken(person).await?;
        self.buy("buy without the merchant", Some(&token), &[Must::fault(Fault::UpstreamUnavailable)]).await?;
        self.is_unused(&token).await
    }

    async fn upstream_timeout(&mut self) -> Result<(), Stop> {
        let token = self.token().await?;
        let person = "Suspend the merchant behind the gateway, as with `kill -STOP PID`: it must accept the connection \
                      and say nothing.\n     Once it goes on it may execute the purchase. It has a minute to answer.";
        self.broken(person).await?;
        let unknown = [Must::Refuse(504, Fault::OutcomeUnknown.as_str())];
        self.buy("buy from a merchant that says nothing", Some(&token), &unknown).await?;
        self.buy("try again", Some(&token), &[Must::reason(ReasonCode::ReplayDetected)]).await
    }

    /// A token for what is to be bought.
    async fn token(&mut self) -> Result<String, Stop> {
        let intent = &self.args.intent;
        let answer = self.authorize(intent, Must::Pass("allowed")).await?;
        let token = answer.get("executionToken").and_then(Value::as_str).map(str::to_owned);
        Ok(token.ok_or_else(|| CliError::NotPermyx { url: intent.url.clone(), status: 200 })?)
    }

    async fn authorize(&mut self, intent: &IntentArgs, must: Must) -> Result<Value, Stop> {
        let answer = intent.authorize(&self.api).await?;
        let told = match understood(&intent.url, &answer) {
            Err(stranger @ CliError::NotPermyx { .. }) => return Err(stranger.into()),
            told => told.unwrap_or_default(),
        };
        self.hold(format!("ask for a token: {intent}"), at(&intent.url, AUTHORIZE), &answer, &[must])?;
        Ok(told)
    }

    async fn is_unused(&mut self, token: &str) -> Result<(), Stop> {
        let IntentArgs { url, key, .. } = &self.args.intent;
        let body = json!({ "executionToken": token }).to_string();
        let answer = post(&self.api, url, INTROSPECT, key, body).await?;
        self.hold("look at the token".to_owned(), at(url, INTROSPECT), &answer, &[Must::Unused])
    }

    async fn broken(&mut self, person: &str) -> Result<(), CliError> {
        if self.args.fault_is_there { Ok(()) } else { asks(person).await }
    }

    async fn buy(&mut self, does: &str, token: Option<&str>, must: &[Must]) -> Result<(), Stop> {
        self.send(does, token, &self.cart(self.args.intent.quantity), must).await
    }

    async fn send(&mut self, does: &str, token: Option<&str>, cart: &str, must: &[Must]) -> Result<(), Stop> {
        let mut headers = json_headers();
        if let Some(token) = token {
            let mut token = HeaderValue::from_str(token.trim()).map_err(|_| CliError::NotAKey("--expired-token"))?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let url = at(&self.args.gateway, &format!("/{}", self.args.path.trim_start_matches('/')));
        let answer = self.gateway.post(&url, headers, Bytes::from(cart.to_owned())).await;
        let answer = answer.map_err(|source| CliError::NoGateway { url: self.args.gateway.clone(), source })?;
        self.hold(does.to_owned(), url, &answer, must)
    }

    /// The body of the preset `oneshot-json`. Every part is an id or a number: none needs escaping.
    fn cart(&self, quantity: Quantity) -> String {
        let IntentArgs { variant, price, .. } = &self.args.intent;
        let (currency, price) = (price.currency(), price.major());
        format!(
            r#"{{"currency":"{currency}","items":[{{"variant":"{variant}","quantity":{quantity},"price":{price}}}]}}"#
        )
    }

    fn hold(&mut self, does: String, to: String, answer: &Answer, must: &[Must]) -> Result<(), Stop> {
        if self.story.step(does, to, answer, must)? { Ok(()) } else { Err(Stop::NotHeld) }
    }
}

fn at(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}
