# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare and write jupyter_server_config.json, the token's file and the cookie secret."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File, described
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config

try:
    import argon2
    import argon2.exceptions

    ARGON2_ERROR = None
except ImportError:
    ARGON2_ERROR = traceback.format_exc()

COOKIE_SECRET_BYTES = 32
# Files that the account can write. JSON takes a hundred times its size in memory.
LONGEST, LONGEST_SECRET = 2**20, 2**12


def hash_password(password: str, present: str) -> str:
    """Hash a password as jupyter_server.auth.security.passwd does. The present hash stays if it fits."""
    hasher = argon2.PasswordHasher(memory_cost=10240, time_cost=10, parallelism=8)
    algorithm, _unused, encoded = present.partition(":")
    if algorithm == "argon2":
        try:
            # In this order: the account can write a hash that takes hours to verify.
            if not hasher.check_needs_rehash(encoded) and hasher.verify(encoded, password):
                return present
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
            pass
    return "argon2:" + hasher.hash(password)


def kept_token(path: str) -> str | None:
    file = files.read(path, LONGEST_SECRET)
    if file is None:
        return None
    token = file.content.decode("ascii", "replace").strip()
    if not server_config.GENERATED.fullmatch(token):
        raise files.UnsafePathError(f"token_file {path} does not hold a token: remove it, and a new one is generated")
    return token


def generation(present: dict[str, object], token: str) -> str:
    """Return the generation of the present token, also after a rotation. A new token gets a new generation."""
    known = server_config.secret(present, *server_config.GENERATION)
    if known and server_config.secret(present, "IdentityProvider", "token") == token:
        return known
    return secrets.token_hex(8)


def keep_cookie_secret(params: Mapping[str, Any], check_mode: bool, tracker: Tracker, renew: bool) -> None:
    path = params["cookie_secret_file"]
    before = files.read(path, LONGEST_SECRET)
    content = before.content if before and len(before.content) >= COOKIE_SECRET_BYTES and not renew else None
    content = content or (secrets.token_hex(COOKIE_SECRET_BYTES) + "\n").encode()
    file = File(content, 0o400, params["owner"], params["group"])
    if tracker.note(path, before, file, show=hidden(before, file)) and not check_mode:
        files.write(path, file)


def apply(params: Mapping[str, Any], check_mode: bool, tracker: Tracker) -> tuple[str, bool]:
    """Compare, then write. Return the checksum for a label, and whether the token is a generated one."""
    before = files.read(params["path"], LONGEST)
    present = server_config.parse(before.content if before else None)
    hashed = ""
    if params["password"] is not None:
        hashed = hash_password(
            params["password"], server_config.secret(present, "PasswordIdentityProvider", "hashed_password")
        )
    generated = params["password"] is None and params["token"] is None
    token = (kept_token(params["token_file"]) or secrets.token_hex(24)) if generated else params["token"] or ""

    if generated:
        file = File((token + "\n").encode(), 0o600, params["account_owner"], params["account_group"])
        current = files.read(params["token_file"], LONGEST_SECRET)
        if tracker.note(params["token_file"], current, file, show=hidden(current, file)) and not check_mode:
            files.write(params["token_file"], file)

    config = server_config.build(params["settings"], hashed, token, generation(present, token) if generated else "")
    # First, so that a run after a kill still sees that the credentials differ.
    if params["cookie_secret_file"]:
        keep_cookie_secret(params, check_mode, tracker, not server_config.same_credentials(present, config))
    file = File(server_config.text(config).encode(), 0o400, params["owner"], params["group"])
    old, new = server_config.masked(present, config)
    show = (described(before, old), described(file, new))
    if tracker.note(params["path"], before, file, show=show) and not check_mode:
        files.write(params["path"], file)

    if not generated and params["token_file"]:
        current = files.read(params["token_file"], LONGEST_SECRET)
        if tracker.note(params["token_file"], current, None, show=hidden(current, None)) and not check_mode:
            files.remove(params["token_file"])
    return server_config.checksum(config), generated


def hidden(before: File | None, after: File | None) -> tuple[str, str]:
    new = before is None or after is None or before.content != after.content
    return (
        described(before, server_config.HIDDEN + "\n"),
        described(after, server_config.HIDDEN + (" (new)\n" if new else "\n")),
    )
