# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A learning platform, as far as LTI 1.3 and OpenID Connect have it: keys, and launches that it signs with them.

It runs in the hub's image. The login_hint is JSON and says who comes, and what is wrong with the token.
"""

from __future__ import annotations

import html
import http.server
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
ISSUER = sys.argv[1]
KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("platform", "forger")}


def token(asked: dict[str, str]) -> str:
    hint: dict[str, Any] = json.loads(asked["login_hint"])
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": asked["client_id"], "sub": "7", "email": hint["email"], "nonce": asked["nonce"],
        "iat": now, "exp": now + 60, f"{LTI}version": "1.3.0", f"{LTI}message_type": "LtiResourceLinkRequest",
        f"{LTI}deployment_id": "1", f"{LTI}target_link_uri": "http://hub/hub/", f"{LTI}roles": [],
        f"{LTI}resource_link": {"id": "statistics"},
    }  # fmt: skip
    claims |= {key.replace("lti:", LTI): value for key, value in hint.get("claims", {}).items()}
    claims |= {key: now + seconds for key, seconds in hint.get("times", {}).items()}
    claims = {key: value for key, value in claims.items() if value is not None}
    if hint.get("algorithm") == "none":
        return jwt.encode(claims, "", algorithm="none", headers={"kid": "1"})
    if hint.get("algorithm") == "HS256":  # with what everybody knows
        return jwt.encode(claims, hint["secret"], algorithm="HS256", headers={"kid": "1"})
    return jwt.encode(claims, KEYS[hint.get("key", "platform")], algorithm="RS256", headers={"kid": "1"})


class Platform(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if self.path.startswith("/keys"):
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEYS["platform"].public_key()))
            self.answer("application/json", json.dumps({"keys": [{**key, "kid": "1", "use": "sig"}]}))
        elif self.path.startswith("/auth"):
            assert asked["response_mode"] == "form_post" and asked["response_type"] == "id_token"
            fields = {"id_token": token(asked), "state": asked["state"]}
            self.answer("text/html", form(asked["redirect_uri"], fields, by_itself=True))
        else:
            # What a link in a course does: /course?hub=ADDRESS&login_hint=…
            fields = {name: value for name, value in asked.items() if name != "hub"}
            self.answer("text/html", form(asked["hub"], fields, by_itself=False))

    def answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


def form(address: str, fields: dict[str, str], by_itself: bool) -> str:
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in fields.items()
    )
    script = "<script>document.forms[0].submit()</script>" if by_itself else "<button>The hub</button>"
    return f'<form method="post" action="{html.escape(address)}">{inputs}{script}</form>'


http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Platform).serve_forever()
