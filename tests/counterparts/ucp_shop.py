"""A real UCP merchant for the tests: ucpify from PyPI, on a free port of this machine.

usage: ucp_shop.py DIR      DIR keeps the installed package from one run to the next

It prints one JSON line {"ready": true, "url": ...} when it serves, and ends with its standard input.
"""
import fcntl
import json
import os
import subprocess
import sys
import threading
import types
import venv

PACKAGE = "ucpify==1.2.0"
# What the package needs here. Its own list also names payment services, which no test may reach.
NEEDS = ["flask>=3,<4", "pydantic>=2,<3", "click>=8,<9", "python-dotenv>=1,<2", "structlog>=24", "waitress>=3,<4"]


def install(home):
    """Makes the environment once, however many tests ask at the same time; returns its Python."""
    os.makedirs(home, exist_ok=True)
    python, done = os.path.join(home, "venv", "bin", "python"), os.path.join(home, PACKAGE)
    with open(os.path.join(home, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(done):
            venv.create(os.path.join(home, "venv"), with_pip=True, clear=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run(pip + NEEDS, check=True, stdout=sys.stderr)
            subprocess.run(pip + ["--no-deps", PACKAGE], check=True, stdout=sys.stderr)
            open(done, "w").close()
    return python


def without_payment_services():
    """The names that the package imports of services which are not installed."""
    names = {
        "stripe": ["StripeClient", "PaymentIntent", "Event", "Webhook"],
        "paypalserversdk": ["Client", "Environment", "OrdersController", "OrderRequest", "CheckoutPaymentIntent",
                            "PurchaseUnitRequest", "AmountWithBreakdown"],
    }
    for module, classes in names.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (), {}))
        stand_in.error = types.SimpleNamespace(StripeError=Exception, SignatureVerificationError=Exception)
        sys.modules[module] = stand_in


def serve():
    without_payment_services()
    import ucpify
    import waitress
    items = [ucpify.Item(id="mug_blue", title="Blue mug", price=2999, sku="MUG-BLUE"),
             ucpify.Item(id="towel", title="Tea towel", price=995, sku="TOWEL")]
    shop = ucpify.MerchantConfig(
        name="Shop of the tests", domain="http://127.0.0.1", currency="USD", tax_rate=0.1, items=items,
        shipping_options=[ucpify.ShippingOption(id="standard", title="Standard", price=500)])
    server = waitress.create_server(ucpify.create_flask_app(shop, use_db=False), host="127.0.0.1", port=0, threads=4)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{server.effective_port}"}), flush=True)
    server.run()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        python = install(os.path.abspath(sys.argv[1]))
        os.environ["LOG_LEVEL"] = "WARNING"
        os.execv(python, [python, os.path.abspath(__file__), "--serve"])
