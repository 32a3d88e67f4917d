"""usage: capture_vendure.py URL      captures purchases at a freshly started vendure_shop.py"""
import hashlib
import json
import sys
import urllib.parse

import capture

ORDER = "fragment O on Order { id code state active currencyCode subTotal subTotalWithTax shippingWithTax total totalWithTax " \
        "lines { id quantity unitPrice unitPriceWithTax linePrice linePriceWithTax productVariant { id sku } } }"
ERROR = "... on ErrorResult { errorCode message }"
ADD = "mutation Add($v: ID!, $q: Int!) { addItemToOrder(productVariantId: $v, quantity: $q) " \
      f"{{ __typename ...O {ERROR} }} }} {ORDER}"
SET = "mutation Set($l: ID!, $q: Int!) { adjustOrderLine(orderLineId: $l, quantity: $q) " \
      f"{{ __typename ...O {ERROR} }} }} {ORDER}"
PAY = f"mutation Pay($i: PaymentInput!) {{ addPaymentToOrder(input: $i) {{ __typename ...O {ERROR} }} }} {ORDER}"
READ = "query Read { activeOrder { id code state active currencyCode total totalWithTax " \
       "lines { id quantity unitPrice unitPriceWithTax productVariant { id sku } } } }"
SHIPPING = [
    "mutation { setCustomerForOrder(input: {firstName: \"Ada\", lastName: \"Buyer\", emailAddress: \"ada@example.test\"}) "
    "{ __typename } }",
    "mutation { setOrderShippingAddress(input: {streetLine1: \"1 Test Street\", countryCode: \"GB\"}) { __typename } }",
    "mutation { setOrderShippingMethod(shippingMethodId: [\"1\"]) { __typename } }",
]
TO_PAYMENT = "mutation { transitionOrderToState(state: \"ArrangingPayment\") { __typename ... on Order { state } } }"


class Buyer:
    """One guest: a session token in a header, and the same session in cookies."""

    def __init__(self, shop, variant, quantity, name=None):
        self.shop, self.auth = shop, {}
        _, headers, _ = self.say(ADD, {"v": variant, "q": quantity}, name)
        token = shop.hide(capture.header(headers, "vendure-auth-token"), "SESSION-TOKEN")
        cookies = [value.split(";")[0] for key, value in headers if key.lower() == "set-cookie"]
        for cookie in cookies:
            shop.hide(cookie.split("=", 1)[1], "COOKIE-VALUE")
        self.auth, self.cookie = {"Authorization": "Bearer " + token}, "; ".join(cookies)

    def say(self, query, variables=None, name=None, headers=None):
        body = {"query": query, "variables": variables or {}}
        return self.shop.call("POST", "/shop-api", body, self.auth if headers is None else headers, name)

    def to_payment(self):
        for step in SHIPPING + [TO_PAYMENT]:
            self.say(step)
        return self

    def pay(self, name, method="dummy", **metadata):
        return self.say(PAY, {"i": {"method": method, "metadata": metadata}}, name)


def purchase(shop):
    buyer = Buyer(shop, "1", 1, "add-item")
    line = json.loads(buyer.say(READ)[2])["data"]["activeOrder"]["lines"][0]["id"]
    buyer.say(SET, {"l": line, "q": 2}, "update-quantity")
    buyer.pay("commit-in-wrong-state")
    for step, name in zip(SHIPPING + [TO_PAYMENT], ["customer", "address", "shipping", "to-payment"]):
        buyer.say(step, None, name)
    buyer.say(READ, None, "read-before-commit")
    buyer.pay("commit-declined", shouldDecline=True)
    buyer.pay("commit-failed", shouldError=True)
    buyer.pay("commit-unknown-method", "none")
    _, _, body = buyer.pay("commit")
    buyer.pay("commit-again")
    buyer.say(READ, None, "read-after-commit")
    code = json.loads(body)["data"]["addPaymentToOrder"]["code"]
    buyer.say("query Order($c: String!) { orderByCode(code: $c) { id code state totalWithTax payments { state amount } } }",
              {"c": code}, "order-by-code")


def other_outcomes(shop):
    Buyer(shop, "3", 1).to_payment().pay("commit-authorised-only", "later")
    Buyer(shop, "1", 1).to_payment().say(
        "mutation { addPaymentToOrder(input: {method: \"dummy\", metadata: {}}) { __typename } }",
        None, "commit-that-selects-nothing")
    buyer = Buyer(shop, "1", 1)
    for step in SHIPPING:
        buyer.say(step)
    buyer.say("mutation { a: addItemToOrder(productVariantId: \"2\", quantity: 5) { __typename } "
              "b: transitionOrderToState(state: \"ArrangingPayment\") { __typename } "
              "c: addPaymentToOrder(input: {method: \"dummy\", metadata: {}}) { __typename ...O } } " + ORDER,
              None, "commit-and-changes-in-one-document")


def carriage(shop):
    """The same order read over every way that the server takes."""
    mug, shirt = Buyer(shop, "1", 2), Buyer(shop, "3", 1)
    mug.say(READ, None, "read-by-cookie", {"Cookie": mug.cookie})
    mug.say(READ, None, "cookie-wins-over-bearer", {**mug.auth, "Cookie": shirt.cookie})
    mug.say(READ, None, "read-without-session", {})
    query = urllib.parse.quote(READ)
    form = {**mug.auth, "Content-Type": "application/x-www-form-urlencoded"}
    shop.call("GET", "/shop-api?query=" + query, None, mug.auth, "get-query")
    shop.call("GET", "/shop-api?query=" + urllib.parse.quote(TO_PAYMENT), None, mug.auth, "get-mutation-refused")
    shop.call("POST", "/shop-api", "query=" + urllib.parse.quote(SHIPPING[1]), form, "form-mutation")
    shop.call("POST", "/shop-api", [{"query": READ}], mug.auth, "batch-refused")
    shop.call("POST", "/SHOP-API/any/thing", {"query": READ}, mug.auth, "path-in-capitals-with-more")
    twice = f"{{\"query\": \"{{ __typename }}\", \"query\": {json.dumps(READ)}}}"
    json_type = {"Content-Type": "application/json"}
    shop.call("POST", "/shop-api", twice, {**mug.auth, **json_type}, "last-of-a-double-member-wins")
    named = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(READ.encode()).hexdigest()}}}
    shop.call("POST", "/shop-api", named, mug.auth, "persisted-query-unknown")
    shop.call("POST", "/shop-api", {"query": READ, **named}, mug.auth)
    shop.call("POST", "/shop-api", named, mug.auth, "persisted-query-known")
    packed = {"Accept-Encoding": "gzip, br"}
    shop.call("POST", "/shop-api", {"query": READ}, {**mug.auth, **packed}, "read-is-not-compressed")


if __name__ == "__main__":
    with capture.Recorder("vendure", sys.argv[1]) as recorder:
        purchase(recorder)
        other_outcomes(recorder)
        carriage(recorder)
