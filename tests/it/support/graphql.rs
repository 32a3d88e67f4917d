//! A guest at Vendure's shop API, through a gateway or beside it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Answer, Connection, request_to};

/// What a buyer wants to see of its order.
const ORDER: &str = "... on Order { code state active totalWithTax currencyCode \
                     lines { quantity unitPrice unitPriceWithTax productVariant { id } } } \
                     ... on ErrorResult { errorCode message }";

/// A session of the shop, at one address and host name.
#[derive(Clone)]
pub struct Guest {
    pub to: SocketAddr,
    pub host: &'static str,
    pub bearer: Option<String>,
    /// Goes along with every request.
    pub always: Vec<String>,
}

impl Guest {
    pub fn at(to: SocketAddr, host: &'static str) -> Self {
        Self { to, host, bearer: None, always: Vec::new() }
    }

    /// The same session, reached by another way.
    pub fn beside(&self, to: SocketAddr) -> Self {
        Self { to, always: Vec::new(), ..self.clone() }
    }

    pub fn send(&self, headers: &[&str], body: &str) -> Answer {
        let bearer = self.bearer.as_ref().map(|bearer| format!("Authorization: Bearer {bearer}"));
        let all: Vec<&str> = headers.iter().copied().chain(self.always.iter().map(String::as_str)).collect();
        let all: Vec<&str> = all.into_iter().chain(bearer.as_deref()).collect();
        let mut connection = Connection::open(self.to);
        connection.send(request_to(self.host, "POST", "/shop-api", &all, body));
        connection.answer().unwrap()
    }

    /// Sends one mutation as most clients do, and keeps the session that it begins.
    pub fn mutate(&mut self, more: Option<&str>, name: &str, arguments: &str) -> Answer {
        let query = format!("mutation M {{ it: {name}{arguments} {{ __typename {ORDER} }} }}");
        let headers: Vec<&str> = more.into_iter().collect();
        let answer = self.send(&headers, &json!({"operationName": "M", "query": query}).to_string());
        if let Some(session) = answer.header("vendure-auth-token") {
            self.bearer = Some(session.to_owned());
        }
        answer
    }

    fn step(&mut self, name: &str, arguments: &str) -> Value {
        let answer = self.mutate(None, name, arguments);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(answer.json()["data"]["it"]["__typename"], "Order", "{name}: {}", answer.text());
        answer.json()["data"]["it"].clone()
    }

    /// A basket with so many of a variant, made ready to be paid.
    pub fn fill(&mut self, variant: &str, pieces: u32) {
        self.step("addItemToOrder", &format!("(productVariantId: \"{variant}\", quantity: {pieces})"));
        self.step(
            "setCustomerForOrder",
            "(input: {firstName: \"Ada\", lastName: \"Buyer\", emailAddress: \"ada@example.test\"})",
        );
        self.step("setOrderShippingAddress", "(input: {streetLine1: \"1 Test Street\", countryCode: \"GB\"})");
        self.step("setOrderShippingMethod", "(shippingMethodId: [\"1\"])");
        self.ready();
    }

    pub fn ready(&mut self) {
        self.step("transitionOrderToState", "(state: \"ArrangingPayment\")");
    }

    /// Adds more to a basket that was ready.
    pub fn add(&mut self, variant: &str, pieces: u32) {
        self.step("transitionOrderToState", "(state: \"AddingItems\")");
        self.step("addItemToOrder", &format!("(productVariantId: \"{variant}\", quantity: {pieces})"));
        self.ready();
    }

    /// The commit.
    pub fn pay(&mut self, token: Option<&str>) -> Answer {
        let token = token.map(|token| format!("Permyx-Execution-Token: {token}"));
        self.mutate(token.as_deref(), "addPaymentToOrder", "(input: {method: \"dummy\", metadata: {}})")
    }

    /// True while the basket is not paid.
    pub fn is_open(&self) -> bool {
        let answer = self.send(&[], &json!({"query": "{ activeOrder { state } }"}).to_string());
        answer.json()["data"]["activeOrder"]["state"].is_string()
    }
}
