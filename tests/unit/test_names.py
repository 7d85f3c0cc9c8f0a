# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of instances that become paths on a host."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, reset
from hypothesis import given
from hypothesis import strategies as st
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
        reset.install(result["reset_jobs"], engines, (), "geo1", "root", "", {}),
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


NAMES = ["tao", "backup-tao", "backup-backup-tao", "page-tao", "backup-page-tao", "secrets", "backup-secrets"]
STATES = ["present", "held", "absent"]
SCHEDULES = ["01:25", "daily", None]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(STATES), st.sampled_from(SCHEDULES)), min_size=1),
    st.sets(st.sampled_from(NAMES)),
    st.sets(st.sampled_from(NAMES)),
)
def test_no_instance_s_removal_takes_a_file_of_another(
    declared: dict[str, tuple[str, str | None]], recorded: set[str], only: set[str]
) -> None:
    """Of all that the roles do in one run, for ONLY some of the instances or for all."""
    instances = [
        hub(name=name, url=f"https://{name}.example.org", port=8000 + NAMES.index(name), reset={"at": at}, state=state)
        if state != "absent"
        else {"name": name, "state": state}
        for name, (state, at) in declared.items()
        if state == "absent" or not name.startswith("backup-")
    ]
    result, problems = plan(instances, backup=BACKUP)
    assert result, problems
    engines = dict.fromkeys(NAMES, ENGINE)

    def run(names: Collection[str]) -> tuple[set[str], set[str]]:
        resets, backups = (
            [job for job in result[key] if job["name"] in names] for key in ("reset_jobs", "backup_jobs")
        )
        found = [
            reset.install(resets, engines, recorded, "geo1", "root", "", {}),
            backup.install(backups, engines, recorded, "geo1", "root", "", {}),
        ]
        return (
            {file["path"] for each in found for file in each["files"]},
            {path for each in found for path in each["absent"]},
        )

    written, removed = run(declared)
    assert not written & removed, "no second run is like the first"
    recorded |= set(declared)  # they were deployed
    _written, removed = run(only)
    kept = {name for name in declared if name not in only}
    assert not removed & run(kept)[0], "those left out lose nothing"


def test_the_resets_of_a_name_from_before_go_with_it() -> None:
    result, _problems = plan([{"name": "backup-tao", "state": "absent"}])
    assert result
    for instances, goes in (((), True), (("backup-tao", "geo"), True), (("tao",), False)):
        found = reset.install(result["reset_jobs"], {}, instances, "geo1", "root", "", {})
        assert ("/etc/cron.d/carrel-backup-tao" in found["absent"]) is goes
        assert "/etc/cron.daily/carrel-backup-tao" in found["absent"]


def test_an_instance_whose_name_others_need_can_still_be_removed() -> None:
    assert plan([lab(name="backup-tao")])[0] is None
    assert plan([{"name": "backup-tao", "state": "absent"}])[0]
