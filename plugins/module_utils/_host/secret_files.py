# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare and write a hub's files with secrets."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File, described
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_secrets

SECRETS = "hub/secrets.json"
READ_BY_COMPOSE = "proxy.env"  # as root, so the account may not write it
LONGEST = 2**20  # the account can write it, and JSON takes a hundred times its size in memory


def apply(params: Mapping[str, Any], check_mode: bool, tracker: Tracker) -> dict[str, str | None]:
    """Compare, then write. Return each file's text by its name."""
    before = files.read(f"{params['directory']}/{SECRETS}", LONGEST)
    known = hub_secrets.parse(f"{params['directory']}/{SECRETS}", before.content if before else None)
    password = f"{params['directory']}/{hub_secrets.DATABASE_PASSWORD}"
    file = files.read(password, LONGEST)
    known = hub_secrets.with_database_password(known, password, file.content if file else None)
    given = {name: params[name] for name in ("client_secret", "dummy_password")}
    given |= {hub_secrets.AUTHENTICATOR + name: value for name, value in params["authenticator_secrets"].items()}
    content = hub_secrets.complete(known, given, params["database"], lambda: secrets.token_hex(32), params["services"])
    texts = hub_secrets.texts(known, content, params["passwords"])
    for name, text in texts.items():
        path = f"{params['directory']}/{name}"
        present = files.read(path)
        mode, owner = (0o640, 0) if name == READ_BY_COMPOSE else (0o600, params["owner"])
        wanted = None if text is None else File(text.encode(), mode, owner, params["group"])
        old, new = hub_secrets.masked(present.content.decode() if present else None, text)
        differs = tracker.note(path, present, wanted, show=(described(present, old), described(wanted, new)))
        if differs and not check_mode:
            files.write(path, wanted) if wanted else files.remove(path)
    return texts


def checksum(texts: Mapping[str, str | None]) -> str:
    return hashlib.sha256(str(texts[SECRETS]).encode()).hexdigest()


def token(texts: Mapping[str, str | None]) -> str:
    """Return the proxy's token, which is in the environment of the proxy's container."""
    return str(json.loads(texts[SECRETS] or "{}").get("proxy_token") or "")
