# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says about backups: jupyter_backup for a host, and an instance's own keys over it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, mapping_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import read_time
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid, given, text

# Variables of restic that let into a store.
ACCOUNT = re.compile(r"PASSWORD|SECRET|KEY|TOKEN|CREDENTIALS")
_TAKEN = "so whoever takes over the engine of one can"
_READ = (
    f"{_TAKEN} read the backups of all, and delete them unless the store forbids that. Write a backup.password and a"
    " backup.environment with an account for each instance"
)
_DELETE = (
    f"{_TAKEN} delete the backups of all. Write a backup.environment with an account for each instance, or use a store"
    " that forbids it and append_only: true"
)
PLACES = ("/", "rest:http://", "rest:https://", "s3:", "sftp:")


def _repository(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("where the repositories are, for example /srv/backup")(value, path, problems)
    if isinstance(checked, Invalid):
        return checked
    if re.search(r"//[^/]*:[^/]*@", checked):
        problems.add(path, "repository_password")
    elif not checked.startswith(PLACES):
        problems.add(path, "repository", value=show(checked))
    else:
        return checked
    return INVALID


KEEP: dict[str, Key] = {
    unit: Key(types.whole(0, 1000), f"How many {unit} snapshots.", example=example, default=default)
    for unit, example, default in (("daily", 14, 7), ("weekly", 8, 5), ("monthly", 24, 12), ("yearly", 10, 3))
}
_keep = mapping_of(KEEP)


def _read_keep(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _keep(value, path, problems)
    return parts if isinstance(parts, Invalid) else filled(KEEP, parts)


BACKUP: dict[str, Key] = {
    "enabled": Key(types.BOOLEAN, "Whether there are backups.", example=False, default=True),
    "repository": Key(
        Type(_repository, "a path on the host, or an address with rest:, s3: or sftp:", "backup.example.org"),
        "Place of the repositories; /NAME is added for each instance. A path is not in an instance's directory, in"
        " .archive beside it or in /srv/docker.",
        example="rest:https://backup.example.org:8000/geo1",
        needed="where the repositories are, for example rest:https://backup.example.org:8000/geo1",
    ),
    "password": Key(
        types.SECRET,
        "Password of the repositories. Without it nobody can read the backups: keep a copy in another place.",
        example="{{ vault_backup_password }}",
        needed="the password of the repositories, from a vault",
        secret=True,
    ),
    "environment": Key(
        Type(
            values.variables("a mapping, for example {AWS_ACCESS_KEY_ID: key}"),
            "a mapping of names to text",
            [],
            "dict",
        ),
        "Variables for restic, such as the account at a store or a REST server.",
        example={"RESTIC_REST_USERNAME": "geo1", "RESTIC_REST_PASSWORD": "{{ vault_backup_rest }}"},
        default={},
        secret=True,
    ),
    "at": Key(
        Type(read_time, "HH:MM in quotes", "25:00"),
        "When cron starts the backup, by the host's clock.",
        example="02:30",
        unset="only by hand",
    ),
    "spread_minutes": Key(
        types.whole(0, 720),
        "The backup begins up to this much later; the exact time differs from instance to instance.",
        example=240,
        default=120,
    ),
    "exclude": Key(
        types.listing(types.text("a pattern"), "a list of patterns, for example ['*.tmp']", "a list of patterns"),
        "Files to leave out, as patterns of restic.",
        example=[".cache", "*.tmp"],
        default=[],
    ),
    "keep": Key(
        Type(_read_keep, "a mapping", 7, "dict", keys=KEEP),
        "How many snapshots stay.",
        example={"daily": 14},
        default=filled(KEEP, {}),
        unset="see its keys",
    ),
    "append_only": Key(
        types.BOOLEAN,
        "Whether the repository forbids removal, like rest-server --append-only; then old snapshots stay.",
        example=True,
        default=False,
    ),
    "drill": Key(types.BOOLEAN, "Whether cron tries a restore each Sunday.", example=False, default=True),
    "deadline_seconds": Key(
        types.whole(60, types.DAY), "How long one run of restic may take.", example=43200, default=6 * 60 * 60
    ),
}
_backup = mapping_of(BACKUP)


def read_backup(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    """Read the instance's own keys; merge_backup adds the rest from jupyter_backup."""
    found: dict[str, Any] | Invalid = _backup(value, path, problems)
    return found


BACKUP_TYPE = Type(read_backup, "a mapping", "daily", "dict", keys=BACKUP)


def merge_backup(instance: Any, common: Any, problems: Problems) -> None:
    """Complete an instance's backup. It becomes None if the instance has no backups."""
    own = instance.backup
    if INVALID in (own, common):
        instance.backup = None
        return
    found: Mapping[str, Any] = {
        **(common or {}),
        **{key: item for key, item in (own or {}).items() if item is not None},
    }
    if not found or found.get("enabled") is False:
        instance.backup = None
        return
    for key, declared in BACKUP.items():
        if declared.needed and found.get(key) is None:
            problems.add(f"{instance.path}.backup.{key}", "missing", wanted=declared.needed)
    if given(getattr(instance, "backend", None)) and instance.backend == "volumes":
        problems.add(f"{instance.path}.backup", "backup_volumes")
    instance.backup = {key: item for key, item in filled(BACKUP, found).items() if key != "enabled"}


def shared_stores(instances: Sequence[Any], engines: Sequence[str]) -> list[str]:
    """Warn about engines that reach each other's backups. Each engine has password and account while restic runs."""
    reached: dict[object, dict[str, str]] = {}
    backups = {}
    for instance, engine in zip(instances, engines):
        if not instance.wanted or instance.backup is None or instance.backup["repository"].startswith("/"):
            continue
        backups[instance.name] = instance.backup
        for account in _accounts(instance.backup):
            reached.setdefault(account, {})[instance.name] = engine
    lines = []
    for account, group in reached.items():
        what = f"have no account for {account}" if isinstance(account, str) else "use the same account"
        readers = []
        for password in dict.fromkeys(backups[name]["password"] for name in group):
            same = {name: engine for name, engine in group.items() if backups[name]["password"] == password}
            if len(set(same.values())) > 1:
                readers.append(same)
                lines.append(f"{', '.join(same)}: {what} and the same password for backups, {_READ}")
        removable = not all(backups[name]["append_only"] for name in group)
        if len(set(group.values())) > 1 and group not in readers and removable:
            lines.append(f"{', '.join(group)}: {what} for backups, {_DELETE}")
    return list(dict.fromkeys(lines))  # a store may need several variables


def _accounts(backup: Mapping[str, Any]) -> list[object]:
    """What lets into the store; the store itself if there is no account."""
    found: list[object] = [item for item in backup["environment"].items() if ACCOUNT.search(item[0].upper())]
    return found or [re.sub(r"(?<=[^/:])/.*", "", backup["repository"])]
