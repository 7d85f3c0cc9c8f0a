# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that only the host has. They come back with the whole instance, so that people stay logged in."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import files, targets
from .run import Run
from .settings import Settings

LONGEST = 64 * 2**10
HUB = "hub/secrets.json"
SERVER = "server/jupyter_server_config.json"
# Generated once on the host; the others come from the inventory or are generated again.
SECRETS = {"lab": ("server/cookie_secret", "token", SERVER), "hub": (HUB,)}
TOKEN = (("ServerApp", "token"), ("IdentityProvider", "token"))
# The hash has a random salt, and jupyter_server signs cookies with the cookie secret and the hash.
PASSWORD = (("ServerApp", "password"), ("PasswordIdentityProvider", "hashed_password"))


def of(settings: Settings, leaves: Sequence[str]) -> dict[str, str]:
    """The paths of secrets in a snapshot, alone or in a directory that the account can read, and those on the host."""
    names = [name for name in SECRETS[settings.kind] if name.partition("/")[0] in leaves or name in leaves]
    found = {f"instance/{name}": f"{settings.directory}/{name}" for name in names}
    token = settings.token_file or ""
    if token and not token.startswith(f"{settings.directory}/"):
        found[f"stage/files/{os.path.basename(token)}"] = token
    return found


def bring(run: Run, staged: str, path: str) -> None:
    """Restore a secret, if the snapshot has it."""
    if not os.path.lexists(staged):
        return
    name = os.path.relpath(path, run.settings.directory)
    try:
        text, status = read(staged)
        owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode) & 0o600
        if name == HUB:  # the database's password must be that of the server on this host
            text, owner, mode = merged(files.read(path), text), (run.account.uid, run.account.gid), 0o600
        elif name == SERVER:  # a password that was changed here since then must not count again
            text = signed(files.read(path), text, TOKEN if run.state.begun else TOKEN + PASSWORD)
        write(path, text, owner, mode)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        run.warn(f"{path} was not restored, so people have to log in again: {error}")


def read(staged: str) -> tuple[str, os.stat_result]:
    with open(targets.opened(staged, os.O_RDONLY), encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(LONGEST), status


def write(path: str, text: str, owner: tuple[int, int], mode: int) -> None:
    """Replace a file in a directory of root's."""
    fresh = f"{path}.restored"
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
    os.rename(fresh, path)


def merged(now: str, then: str) -> str:
    secrets = {**json.loads(now), "cookie_secret": json.loads(then)["cookie_secret"]}
    return json.dumps(secrets, indent=1, sort_keys=True) + "\n"


def signed(now: str, then: str, traits: Sequence[tuple[str, str]]) -> str:
    """The server's configuration of now, with what signs cookies of then."""
    config: dict[str, Any] = json.loads(now)
    old = json.loads(then)
    for section, trait in traits:
        value = old.get(section, {}).get(trait)
        if isinstance(value, str):
            config.setdefault(section, {})[trait] = value
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
