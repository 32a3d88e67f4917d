//! A guest at Medusa's store API, and an agent's platform that speaks ACP with the same shop.

use std::net::SocketAddr;

use permyx::model::ids::Jti;
use serde_json::{Value, json};

use super::http::{Answer, Connection, request_to};
use super::real::RealShop;

/// A buyer of its own for each cart: the shop makes a customer of it, and two at once would collide.
fn email() -> String {
    format!("ada-{}@example.test", Jti::random())
}

/// One way to the shop: an address, a host name, and headers that go along with every request.
#[derive(Clone)]
pub struct Way<'s> {
    pub shop: &'s RealShop,
    pub to: SocketAddr,
    pub host: &'static str,
    pub always: Vec<String>,
}

impl Way<'_> {
    /// The same shop, without anybody in between.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { to: self.shop.address(), always: Vec::new(), ..self.clone() }
    }

    fn told(&self, pointer: &str) -> &str {
        self.shop.told.pointer(pointer).and_then(Value::as_str).unwrap()
    }

    pub fn variant(&self, sku: &str) -> &str {
        self.told(&format!("/variants/{sku}"))
    }

    fn send(&self, method: &str, path: &str, headers: &[String], body: Option<&Value>) -> Answer {
        let all: Vec<&str> = headers.iter().chain(&self.always).map(String::as_str).collect();
        let body = body.map_or_else(String::new, Value::to_string);
        let mut connection = Connection::open(self.to);
        connection.send(request_to(self.host, method, path, &all, &body));
        connection.answer().unwrap()
    }

    /// One request of the store API.
    pub fn store(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut headers = vec![format!("x-publishable-api-key: {}", self.told("/publishable_key"))];
        headers.extend(token.map(|token| format!("Permyx-Execution-Token: {token}")));
        self.send(method, &format!("/store{path}"), &headers, body)
    }

    fn store_ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.store(method, path, None, Some(body));
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// A cart with so many of a product, ready to be completed; `outcome` is what its card will say.
    pub fn cart(&self, region: &str, sku: &str, pieces: u32, outcome: &str) -> String {
        let country = if region == "gross" { "de" } else { "gb" };
        let place = json!({"first_name": "Ada", "last_name": "Buyer", "address_1": "1 Test Street", "city": "London",
            "postal_code": "N1 1AA", "country_code": country});
        let region = self.told(&format!("/regions/{region}"));
        let cart = json!({"region_id": region, "email": email(), "shipping_address": place});
        let id = self.store_ok("POST", "/carts", &cart)["cart"]["id"].as_str().unwrap().to_owned();
        self.add(&id, sku, pieces);
        let options = self.store("GET", &format!("/shipping-options?cart_id={id}"), None, None).json();
        let option = &options["shipping_options"][0]["id"];
        self.store_ok("POST", &format!("/carts/{id}/shipping-methods"), &json!({"option_id": option}));
        self.choose_payment(&id, outcome);
        id
    }

    pub fn add(&self, cart: &str, sku: &str, pieces: u32) {
        let item = json!({"variant_id": self.variant(sku), "quantity": pieces});
        self.store_ok("POST", &format!("/carts/{cart}/line-items"), &item);
    }

    pub fn choose_payment(&self, cart: &str, outcome: &str) {
        let made = self.store_ok("POST", "/payment-collections", &json!({"cart_id": cart}));
        let path =
            format!("/payment-collections/{}/payment-sessions", made["payment_collection"]["id"].as_str().unwrap());
        let data = if outcome.is_empty() { json!({}) } else { json!({"outcome": outcome}) };
        self.store_ok("POST", &path, &json!({"provider_id": "pp_card_card", "data": data}));
    }

    /// True once an order was made of the cart.
    pub fn is_completed(&self, cart: &str) -> bool {
        let seen = self.store("GET", &format!("/carts/{cart}?fields=id,completed_at"), None, None);
        seen.json()["cart"]["completed_at"].is_string()
    }

    /// One request of the ACP platform, with a key of its own.
    pub fn acp(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut headers = vec![
            format!("Authorization: Bearer {}", self.told("/acp_key")),
            "API-Version: 2026-01-30".to_owned(),
            format!("Request-Id: {}", Jti::random()),
        ];
        headers.extend((method == "POST").then(|| format!("Idempotency-Key: {}", Jti::random())));
        headers.extend(token.map(|token| format!("Permyx-Execution-Token: {token}")));
        self.send(method, &format!("/acp/checkout_sessions{path}"), &headers, body)
    }

    /// An ACP session with so many of a product, ready for payment.
    pub fn acp_session(&self, sku: &str, pieces: u32) -> String {
        let address = json!({"name": "Ada Buyer", "line_one": "1 Test Street", "city": "London", "state": "London",
            "country": "GB", "postal_code": "N1 1AA"});
        let body = json!({
            "line_items": [{"id": self.variant(sku), "quantity": pieces}], "currency": "usd", "capabilities": {},
            "buyer": {"email": email()}, "fulfillment_details": {"name": "Ada Buyer", "address": address},
        });
        let created = self.acp("POST", "", None, Some(&body));
        assert_eq!(created.status, 201, "{}", created.text());
        created.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn acp_complete(&self, session: &str, token: Option<&str>, more: &Value) -> Answer {
        let instrument = json!({"type": "card", "credential": {"type": "spt", "token": "spt_test"}});
        let mut body = json!({"payment_data": {"handler_id": "card", "instrument": instrument}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.acp("POST", &format!("/{session}/complete"), token, Some(&body))
    }
}
