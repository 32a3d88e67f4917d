//! The steps of a purchase from a UCP merchant.

use std::net::SocketAddr;

use permyx::model::ids::Jti;
use serde_json::{Value, json};

use super::http::{Answer, Connection, request_to};

/// A buyer at one host name, with headers that go along with every request.
pub struct Buyer<'a> {
    pub to: SocketAddr,
    pub host: &'a str,
    pub always: Vec<String>,
}

impl Buyer<'_> {
    fn send(&self, method: &str, path: &str, more: Option<&str>, body: &Value) -> Answer {
        let agent = "UCP-Agent: profile=\"https://agent.example/profile\"";
        // A request of its own has a key of its own.
        let key = format!("idempotency-key: {}", Jti::random());
        let mut headers = vec![agent, "request-signature: test", "request-id: 1", key.as_str()];
        headers.extend(self.always.iter().map(String::as_str).chain(more));
        let mut connection = Connection::open(self.to);
        connection.send(request_to(self.host, method, &format!("/ucp/v1{path}"), &headers, &body.to_string()));
        connection.answer().unwrap()
    }

    /// Creates a session with so many mugs and makes it ready for the commit.
    pub fn session(&self, mugs: u32) -> String {
        let created = self.send("POST", "/checkout-sessions", None, &basket(mugs));
        assert_eq!(created.status, 201, "{}", created.text());
        let id = created.json()["id"].as_str().unwrap().to_owned();
        self.amend(&id, mugs);
        id
    }

    /// Changes the basket of a session.
    pub fn amend(&self, id: &str, mugs: u32) {
        let place = json!({"id": "home", "street_address": "1 Test Street", "address_locality": "London",
            "address_region": "LDN", "postal_code": "N1 1AA", "address_country": "GB"});
        let mut body = basket(mugs);
        body["fulfillment"] = json!({"methods": [
            {"type": "shipping", "destinations": [place], "selected_destination_id": "home"}]});
        let amended = self.send("PUT", &format!("/checkout-sessions/{id}"), None, &body);
        assert_eq!(amended.status, 200, "{}", amended.text());
    }

    /// Commits the session.
    pub fn complete(&self, id: &str, token: Option<&str>) -> Answer {
        let header = token.map(|token| format!("Permyx-Execution-Token: {token}"));
        self.send("POST", &format!("/checkout-sessions/{id}/complete"), header.as_deref(), &json!({}))
    }

    /// What the shop says of the session.
    pub fn status(&self, id: &str) -> String {
        let seen = self.send("GET", &format!("/checkout-sessions/{id}"), None, &json!({}));
        seen.json()["status"].as_str().unwrap_or_default().to_owned()
    }
}

fn basket(mugs: u32) -> Value {
    json!({"line_items": [{"item": {"id": "mug_blue", "title": "Blue mug"}, "quantity": mugs}], "currency": "USD",
        "buyer": {"full_name": "Ada Buyer", "email": "ada@example.test"}})
}
