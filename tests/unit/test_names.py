# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of instances that become paths on a host."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, reset
from plan_helpers import hub, lab, plan

ROOT = Path(__file__).resolve().parents[2]
RANGE = {"start": 165536, "count": 65536}
ENGINE = {"uid": 1001, "gid": 1001, "socket": "/run/user/1001/docker.sock", "subuid": RANGE, "subgid": RANGE}
BACKUP = {"repository": "rest:https://backup.example.org/geo1/", "password": "a secret", "at": "23:30"}


def owned(name: str) -> set[str]:
    """Every path that the roles reset and backup write or remove for an instance; none if its name is refused."""
    result, _problems = plan([hub(name=name, reset={"at": "01:25"})], backup=BACKUP)
    if result is None:
        return set()
    engines = {name: ENGINE}
    found = [
        reset.install(result["reset_jobs"], engines, "geo1", "root", "", {}),
        backup.install(result["backup_jobs"], engines, (), "geo1", "root", "", {}),
    ]
    assert not any(each["without_engine"] for each in found)
    paths = {path for each in found for path in [*each["absent"], *(file["path"] for file in each["files"])]}
    return paths - {reset.OBSOLETE_PROGRAM, reset.PROGRAM, backup.PROGRAM}


def test_no_two_instances_own_one_file() -> None:
    parts = ["tao", "backup", "disk", "page", "reset", "metrics", "ports", "acme", "secrets", "health"]
    roles = [file.read_text() for file in (ROOT / "roles").glob("*/tasks/*.yml")]
    owners = dict.fromkeys((path for text in roles for path in re.findall(r"/etc/cron[^' ]+", text)), "the roles")
    assert owners, "the roles' own jobs are found"
    for name in [*parts, *map("-".join, itertools.product(parts, repeat=2))]:
        for path in owned(name):
            assert owners.setdefault(path, name) == name, path
    assert len(owners) > 500


def test_an_instance_whose_name_others_need_can_still_be_removed() -> None:
    assert plan([lab(name="backup-tao")])[0] is None
    assert plan([{"name": "backup-tao", "state": "absent"}])[0]
