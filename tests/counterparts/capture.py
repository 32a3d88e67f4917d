"""Keeps exchanges with a merchant, exactly as sent and as answered, as NN-name.json files."""
import http.client
import json
import os
import re
import urllib.parse

CAPTURED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captured")


class Recorder:
    """Talks to the merchant at `url`; at the end of its `with`, captured/<merchant>/ has what was named and nothing else."""

    def __init__(self, merchant, url):
        self.address = urllib.parse.urlsplit(url).netloc
        self.folder, self.kept = os.path.join(CAPTURED, merchant), []
        self.secrets = {self.address: "127.0.0.1:PORT"}

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if not failure:
            self._write()

    def hide(self, secret, name):
        """Writes `name` instead of `secret`, which differs from run to run."""
        self.secrets[secret] = name
        return secret

    def call(self, method, path, body=None, headers=None, name=None):
        """Sends one request; keeps it when it has a name. Returns status, headers (pairs), body text."""
        sent = {"Host": self.address, **(headers or {})}
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        data = None if body is None else body.encode()
        if data is not None or method != "GET":
            sent["Content-Length"] = str(len(data or b""))
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for key, value in sent.items():
            connection.putheader(key, value)
        connection.endheaders(data)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        packed = answer.getheader("content-encoding")
        text = f"({len(raw)} bytes, {packed})" if packed else raw.decode("utf-8", "replace")
        if name:
            self.kept.append((name, {
                "request": {"method": method, "path": path, "headers": list(sent.items()), "body": body},
                "response": {"status": answer.status, "headers": answer.getheaders(), "body": text}}))
        return answer.status, answer.getheaders(), text

    def _write(self):
        os.makedirs(self.folder, exist_ok=True)
        for old in os.listdir(self.folder):
            os.remove(os.path.join(self.folder, old))
        longest_first = sorted(self.secrets.items(), key=lambda pair: -len(pair[0]))
        for count, (name, exchange) in enumerate(self.kept, 1):
            text = json.dumps(exchange, indent=1, ensure_ascii=False)
            text = re.sub(r'\[\n\s+("[^\n]*"),\n\s+("[^\n]*")\n\s+\]', r"[\1, \2]", text)
            for secret, plain in longest_first:
                text = text.replace(secret, plain)
            with open(os.path.join(self.folder, f"{count:02}-{name}.json"), "w") as file:
                file.write(text + "\n")


def header(headers, name):
    """The first value of a header, whatever its case."""
    return next((value for key, value in headers if key.lower() == name), None)
