"""usage: capture_medusa.py READY-LINE      captures purchases at a started medusa_shop.py: store API, ACP and UCP"""
import json
import secrets
import sys

import capture

ADDRESS = {"first_name": "Ada", "last_name": "Buyer", "address_1": "1 Test Street", "city": "London",
           "postal_code": "N1 1AA"}
FIELDS = "?fields=id,currency_code,completed_at,total,subtotal,tax_total,items.variant_id,items.variant_sku," \
         "items.quantity,items.unit_price,items.is_tax_inclusive,items.total"


class Store:
    """A guest's cart over the store API. `names` tells which steps are kept."""

    def __init__(self, shop, facts, region="net", names=()):
        self.shop, self.facts, self.names = shop, facts, names
        self.key = {"x-publishable-api-key": shop.hide(facts["publishable_key"], "PUBLISHABLE-KEY")}
        place = {**ADDRESS, "country_code": {"net": "gb", "gross": "de"}[region]}
        cart = {"region_id": facts["regions"][region], "email": "ada@example.test", "shipping_address": place}
        self.id = self.say("POST", "/store/carts", cart, "create")["cart"]["id"]
        self.path = "/store/carts/" + self.id

    def say(self, method, path, body=None, name=None):
        kept = name if not self.names or name in self.names else None
        return json.loads(self.shop.call(method, path, body, self.key, kept)[2])

    def add(self, sku, quantity):
        item = {"variant_id": self.facts["variants"][sku], "quantity": quantity}
        return self.say("POST", self.path + "/line-items", item, "add-item")

    def ship(self):
        option = self.say("GET", "/store/shipping-options?cart_id=" + self.id, None, "shipping-options")["shipping_options"][0]
        self.say("POST", self.path + "/shipping-methods", {"option_id": option["id"]}, "shipping")

    def choose_payment(self, provider="pp_card_card", **data):
        made = self.say("POST", "/store/payment-collections", {"cart_id": self.id}, "payment-collection")
        path = f"/store/payment-collections/{made['payment_collection']['id']}/payment-sessions"
        self.say("POST", path, {"provider_id": provider, "data": data}, "payment-session")

    def ready(self, sku="MUG-BLUE", quantity=2, **data):
        self.add(sku, quantity)
        self.ship()
        self.choose_payment(**data)
        return self

    def complete(self, name, path="/complete", body=None):
        return self.shop.call("POST", self.path + path, body, self.key, name)


def store(shop, facts):
    cart = Store(shop, facts)
    line = cart.add("MUG-BLUE", 1)["cart"]["items"][0]["id"]
    cart.say("POST", f"{cart.path}/line-items/{line}", {"quantity": 2}, "update-quantity")
    cart.ship()
    cart.complete("commit-without-payment")
    cart.choose_payment()
    cart.say("GET", cart.path, None, "read-before-commit")
    cart.say("GET", cart.path + FIELDS, None, "read-chosen-fields")
    cart.complete("commit")
    cart.complete("commit-again")
    cart.say("GET", cart.path + FIELDS, None, "read-after-commit")
    cart.say("POST", cart.path + "/line-items", {"variant_id": facts["variants"]["TOWEL"], "quantity": 1}, "add-after-commit")
    silent = ["nothing"]
    gross = Store(shop, facts, "gross", silent).ready()
    shop.call("GET", gross.path + FIELDS, None, gross.key, "read-gross-prices")
    for outcome in ["declined", "pending", "more", "error"]:
        Store(shop, facts, "net", silent).ready(outcome=outcome).complete("commit-card-" + outcome)
    Store(shop, facts, "net", silent).ready().complete("commit-path-in-capitals", "/COMPLETE")
    Store(shop, facts, "net", silent).ready().complete("commit-path-with-slash", "/complete/")
    Store(shop, facts, "net", silent).ready().complete("commit-that-selects-the-id", "/complete?fields=id")
    bought = Store(shop, facts, "net", silent).ready()
    text = {**bought.key, "Content-Type": "text/plain"}
    shop.call("POST", bought.path + "/complete", "any text", text, "commit-with-a-text-body")
    changed = Store(shop, facts, "net", silent).ready()
    changed.add("TOWEL", 1)
    changed.complete("commit-after-a-change")
    shop.call("POST", changed.path + "/complete", None, {}, "commit-without-key")


class Acp:
    """An agent's platform that speaks ACP 2026-01-30."""

    def __init__(self, shop, facts):
        self.shop, self.facts, self.count = shop, facts, 0
        self.base, self.run = "/acp/checkout_sessions", shop.hide(secrets.token_hex(8), "RUN")

    def say(self, method, path="", body=None, name=None, **headers):
        self.count += 1
        sent = {"Authorization": "Bearer " + self.facts["acp_key"], "API-Version": "2026-01-30",
                "Request-Id": f"request-{self.count}"}
        if method == "POST":
            sent["Idempotency-Key"] = f"{self.run}-{self.count}"
        return self.shop.call(method, self.base + path, body, {**sent, **headers}, name)

    def item(self, sku, **more):
        return {"id": self.facts["variants"][sku], **more}

    def create(self, items, name=None):
        address = {"name": "Ada Buyer", "line_one": "1 Test Street", "city": "London", "state": "London", "country": "GB",
                   "postal_code": "N1 1AA"}
        body = {"line_items": items, "currency": "usd", "capabilities": {}, "buyer": {"email": "ada@example.test"},
                "fulfillment_details": {"name": "Ada Buyer", "address": address}}
        return "/" + json.loads(self.say("POST", "", body, name)[2])["id"]


def acp(shop, facts):
    agent = Acp(shop, facts)
    instrument = {"type": "card", "credential": {"type": "spt", "token": "spt_test"}}
    pay = {"payment_data": {"handler_id": "card", "instrument": instrument}}
    session = agent.create([agent.item("MUG-BLUE", quantity=2)], "create")
    agent.say("POST", session, {"line_items": [agent.item("MUG-BLUE", quantity=1)]}, "update-adds-to-the-quantity")
    agent.say("GET", session, None, "read-before-commit")
    agent.say("POST", session + "/complete", {}, "commit-without-payment")
    once = {"Idempotency-Key": "the-same-" + agent.run}
    agent.say("POST", session + "/complete", pay, "commit", **once)
    agent.say("POST", session + "/complete", pay, "commit-again-same-key", **once)
    agent.say("POST", session + "/complete", {**pay, "buyer": {"email": "b@example.test"}}, "commit-same-key-other-body", **once)
    agent.say("POST", session + "/complete", pay, "commit-again-other-key")
    agent.say("GET", session, None, "read-after-commit-has-no-order")
    agent.say("POST", session + "/cancel", {}, "cancel-after-commit")
    agent.create([agent.item("TOWEL"), agent.item("TOWEL"), agent.item("SHIRT-S")], "create-by-repeated-items")
    bare = {"line_items": [agent.item("TOWEL", quantity=1)], "currency": "usd", "capabilities": {}}
    unready = "/" + json.loads(agent.say("POST", "", bare, "create-not-ready")[2])["id"]
    agent.say("POST", unready + "/complete", pay, "commit-not-ready")
    agent.say("POST", unready + "/cancel", {}, "cancel")
    agent.say("POST", unready + "/complete", pay, "commit-canceled")
    for outcome in ["declined", "error"]:
        session = agent.create([agent.item("SHIRT-L", quantity=1)])
        card = Store(shop, facts, "net", ["nothing"])
        card.id = session[1:]
        card.choose_payment(outcome=outcome)
        agent.say("POST", session + "/complete", pay, "commit-card-" + outcome)
    agent.say("GET", session, None, "read-unknown-version", **{"API-Version": "2025-09-29"})
    agent.say("GET", session, None, "read-wrong-key", Authorization="Bearer wrong")
    agent.say("POST", session + "/complete", pay, "commit-without-idempotency-key", **{"Idempotency-Key": ""})


def ucp(shop, facts):
    count, run = 0, shop.hide(secrets.token_hex(8), "RUN")

    def say(method, path, body=None, name=None):
        nonlocal count
        count += 1
        sent = {"UCP-Agent": "profile=\"http://127.0.0.1/agent\"", "Request-Id": f"request-{count}"}
        if method != "GET":
            sent["Idempotency-Key"] = f"{run}-{count}"
        return shop.call(method, path, body, sent, name)

    buyer = {"email": "ada@example.test", "first_name": "Ada", "last_name": "Buyer"}
    item = {"item": {"id": facts["variants"]["MUG-BLUE"]}, "quantity": 2}
    address = {"street_address": "1 Test Street", "address_locality": "London", "address_country": "GB",
               "postal_code": "N1 1AA", "first_name": "Ada", "last_name": "Buyer"}
    asked = {"line_items": [item], "buyer": buyer, "shipping_address": address,
             "context": {"address_country": "GB", "currency": "usd"}}
    session = "/ucp/checkout-sessions/" + json.loads(say("POST", "/ucp/checkout-sessions", asked, "create")[2])["id"]
    say("GET", session, None, "read-before-commit")
    credential = {"type": "token", "token": "t", "authorization": "t"}
    pay = {"payment": {"instruments": [{"id": "i1", "handler_id": "card", "type": "card", "credential": credential}]}}
    say("POST", session + "/complete", pay, "commit")
    say("POST", session + "/complete", pay, "commit-again")
    say("GET", session, None, "read-after-commit-has-no-order")
    declined = json.loads(say("POST", "/ucp/checkout-sessions", asked)[2])["id"]
    card = Store(shop, facts, "net", ["nothing"])
    card.id = declined
    card.choose_payment(outcome="declined")
    say("POST", f"/ucp/checkout-sessions/{declined}/complete", pay, "commit-card-declined")


if __name__ == "__main__":
    ready = json.loads(sys.argv[1])
    for merchant, purchases in [("medusa", store), ("medusa-acp", acp), ("medusa-ucp", ucp)]:
        with capture.Recorder(merchant, ready["url"]) as recorder:
            purchases(recorder, ready)
