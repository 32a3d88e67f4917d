#!/usr/bin/env python3
"""Checks the vectors with nothing but the standard library.

Money is never a float: numbers with a fraction are read as the text they were written in.
"""
import base64
import hashlib
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
LEEWAY_S, LIFETIME_MAX_S, TOKEN_MAX = 5, 120, 4096
JTI = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# DER of "SHA-256 digest follows" (RFC 8017, 9.2).
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


class Refused(Exception):
    pass


def sha256(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def once(pairs):
    """An object in which every name stands once."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refused("INVALID_SIGNATURE")
    return dict(pairs)


def read_json(data):
    return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_float=str)


def decode(part):
    """Canonical base64url without padding: re-encoding gives the same text."""
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise Refused("INVALID_SIGNATURE")
    return data


def rs256(jwk, message, signature):
    n, e = (int.from_bytes(decode(jwk[name]), "big") for name in ("n", "e"))
    size = (n.bit_length() + 7) // 8
    value = int.from_bytes(signature, "big")
    if len(signature) != size or value >= n:
        return False
    info = SHA256_INFO + hashlib.sha256(message).digest()
    expected = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    return pow(value, e, n).to_bytes(size, "big") == expected


def read_token(token, jwks, now):
    """The claims of a good token; what is wrong with any other."""
    if len(token) > TOKEN_MAX or token.count(".") != 2:
        raise Refused("INVALID_SIGNATURE")
    message, _, signature = token.rpartition(".")
    head, _, body = message.partition(".")
    header = read_json(decode(head))
    if set(header) != {"alg", "kid", "typ"} or (header["alg"], header["typ"]) != ("RS256", "exec+jwt"):
        raise Refused("INVALID_SIGNATURE")
    keys = [jwk for jwk in jwks["keys"] if jwk["kid"] == header["kid"]]
    if len(keys) != 1 or not rs256(keys[0], message.encode(), decode(signature)):
        raise Refused("INVALID_SIGNATURE")
    claims = read_json(decode(body))
    issued, expires = claims["iat"], claims["exp"]
    if (claims["iss"], claims["ver"]) != ("permyx", "1") or not JTI.fullmatch(claims["jti"]):
        raise Refused("INVALID_SIGNATURE")
    if issued > now + LEEWAY_S or not 1 <= expires - issued <= LIFETIME_MAX_S:
        raise Refused("INVALID_SIGNATURE")
    if now >= expires + LEEWAY_S:
        raise Refused("TOKEN_EXPIRED")
    return claims


def canonical(claims):
    """What the token authorises, if both hashes bind the claims to it."""
    text = "|".join(str(claims[name]) for name in ("storeId", "variantId", "qty", "price_amount", "currency", "scope"))
    bound = claims["execution_intent_hash"] == sha256(text)
    if not bound or claims["sku_hash"] != sha256(f"{claims['storeId']}|{claims['variantId']}"):
        raise Refused("INTENT_MISMATCH")
    return text


def judge(token, jwks, now):
    try:
        return "VALID", canonical(read_token(token, jwks, now))
    except Refused as why:
        return str(why), None
    except (KeyError, ValueError, TypeError):
        return "INVALID_SIGNATURE", None


def main():
    wrong = 0
    intents = json.loads((HERE / "intents.json").read_text())["intents"]
    for intent in intents:
        names = ("storeId", "variantId", "quantity", "amount", "currency", "scope")
        text = "|".join(str(intent[name]) for name in names)
        found = (text, sha256(text), sha256(f"{intent['storeId']}|{intent['variantId']}"))
        if found != (intent["canonical"], intent["execution_intent_hash"], intent["sku_hash"]):
            wrong += 1
            print("wrong:", intent["canonical"], found)
    vectors = json.loads((HERE / "tokens.json").read_text())
    for case in vectors["tokens"]:
        found = judge(case["token"], vectors["jwks"], vectors["now"])
        if found != (case["answer"], case.get("canonical")):
            wrong += 1
            print("wrong:", case["name"], found)
    print(f"{len(intents)} intents and {len(vectors['tokens'])} tokens, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
