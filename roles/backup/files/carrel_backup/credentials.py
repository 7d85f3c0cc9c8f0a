# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets, and whose the names are, which only the host has. They come back with the whole instance.

So people stay logged in, and nobody gets the files of somebody else.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence, Set
from contextlib import suppress
from typing import Any

from . import files, name_owners, owners, targets
from .run import Run
from .settings import Settings

HUB = "hub/secrets.json"
SERVER = "server/jupyter_server_config.json"
# Generated or found once on the host; the others come from the inventory or are generated again.
SECRETS = {"lab": ("server/cookie_secret", "token", SERVER), "hub": (HUB, owners.RECORD)}
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


def bring(run: Run, staged: str, path: str, theirs: Set[str] = frozenset()) -> None:
    """Restore a secret, if the snapshot has it. THEIRS: as in owners."""
    if not os.path.lexists(staged):
        return
    name = os.path.relpath(path, run.settings.directory)
    effect = "people have to log in again"
    try:
        if name == owners.RECORD:
            effect = "people may see backups of others who had their names before"
            bring_record(run, staged, run.state.begun is not None, theirs)
            return
        text, status = read(staged)
        owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode) & 0o600
        if name == HUB:  # the database's password must be that of the server on this host
            text, owner, mode = merged(files.read(path), text), (run.account.uid, run.account.gid), 0o600
        elif name == SERVER:  # a password that was changed here since then must not count again
            text = signed(files.read(path), text, TOKEN if run.state.begun else TOKEN + PASSWORD)
        write(path, text, owner, mode)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        run.warn(f"{path} was not restored, so {effect}: {error}")


def bring_record(run: Run, staged: str, begun: bool, theirs: Set[str]) -> None:
    then = owners.of_snapshot(read(staged)[0])
    found = owners.merged(owners.recorded(run.settings), then, begun, theirs)
    write(f"{run.settings.directory}/{owners.RECORD}", name_owners.text(found), (0, run.account.gid), 0o640)


def record_in(tree: str) -> dict[str, name_owners.Owner]:
    """Whose the names are in a tree from a snapshot."""
    with suppress(OSError, ValueError):  # `bring` says it
        return owners.of_snapshot(read(f"{tree}/instance/{owners.RECORD}")[0])
    return {}


def read(staged: str) -> tuple[str, os.stat_result]:
    with open(targets.opened(staged, os.O_RDONLY), encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(files.LONGEST), status


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
