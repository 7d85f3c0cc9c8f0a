# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name service that answers by name and id, and lists nobody, as SSSD does.

None can be had here, so the C library's answers are replaced: what the modules ask for, and what they make of it.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import requirements as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import (
    WIDE_STRIDE,
    Plan,
    Range,
    around,
    probes,
)
from ansible_collections.carrel.jupyter.plugins.modules import instance_info, rootless_docker_info, subordinate_ids
from test_rootless_docker import GOOD

NAMES = {"tao": 1_234_567}
GROUPS = {"tao": 1_234_567, "geo": 1_234_568}


class Service:
    """Users from 200,500 and groups from 200,512, as Active Directory's first ones, and two names."""

    uids: Any = range(200_500, 201_200)
    gids: Any = range(200_512, 200_600)

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        monkeypatch.setattr(pwd, "getpwnam", self._found(pwd.getpwnam, NAMES.__contains__, self._account))
        monkeypatch.setattr(pwd, "getpwuid", self._found(pwd.getpwuid, lambda uid: uid in self.uids, lambda uid: uid))
        monkeypatch.setattr(grp, "getgrnam", self._found(grp.getgrnam, GROUPS.__contains__, self._group))
        monkeypatch.setattr(grp, "getgrgid", self._found(grp.getgrgid, lambda gid: gid in self.gids, lambda gid: gid))

    def _found(self, real: Callable[[Any], Any], has: Callable[[Any], bool], make: Callable[[Any], Any]) -> Any:
        def ask(key: Any) -> Any:
            self.asked += 1
            return make(key) if has(key) else real(key)

        return ask

    def _account(self, name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", NAMES[name], NAMES[name], "", f"/home/ldap/{name}", "/bin/bash"))

    def _group(self, name: str) -> grp.struct_group:
        return grp.struct_group((name, "x", GROUPS[name], []))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


def test_accounts_and_groups_are_found_by_name(service: Service) -> None:
    listed = {account.pw_name for account in pwd.getpwall()}
    assert "tao" not in listed and "tao" not in instance_info.find_accounts([])
    found = instance_info.find_accounts(["tao", "nobody-of-this-name", "root"])
    assert found["tao"].pw_uid == 1_234_567 and found.keys() == {*listed, "tao"}
    assert "geo" not in instance_info.find_groups([])
    groups = instance_info.find_groups(["geo", "nobody-of-this-name"])
    assert "geo" in groups and "nobody-of-this-name" not in groups and "root" in groups


def test_an_account_and_a_group_of_a_name_service_are_no_engines(service: Service) -> None:
    assert rootless_docker_info.find(lambda name: pwd.getpwnam(name).pw_uid, "tao") == 1_234_567
    assert rootless_docker_info.find(lambda name: pwd.getpwnam(name).pw_uid, "nobody-of-this-name") is None
    host = replace(GOOD, foreign_accounts=frozenset({"tao"}), foreign_groups=frozenset({"geo"}))
    first, second = decide.problems(host, "distro")
    assert "the account tao comes from a name service" in first and "another name" in first
    assert "there is a group geo, but no account" in second and "another name" in second


class Module:
    params: ClassVar[dict[str, Any]] = {"accounts": ["root"], "count": 65_536}  # root has no range, and is everywhere
    check_mode = False


def plan(monkeypatch: pytest.MonkeyPatch, folder: Path, subids: str, login_defs: str = "") -> dict[str, Range]:
    file = folder / "subids"
    file.write_text(subids)
    monkeypatch.setattr(subordinate_ids, "FILES", {"uid": str(file), "gid": str(file)})
    monkeypatch.setattr(
        subordinate_ids, "read", lambda path: {str(file): subids, "/etc/login.defs": login_defs}.get(path, "")
    )
    found: dict[str, Range] = subordinate_ids.plan_now(Module()).additions["root"]
    return found


def test_a_new_range_keeps_clear_of_the_ids_of_a_directory(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert plan(monkeypatch, tmp_path, "")["uid"] == Range(100_000, 65_536)
    found = plan(monkeypatch, tmp_path, "x:100000:65536\n")
    assert found == {"uid": Range(400_000, 65_536), "gid": Range(400_000, 65_536)}


def test_people_whose_ids_follow_each_other_are_met(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service.uids, service.gids = range(130_000, 131_000), range(0)
    found = plan(monkeypatch, tmp_path, "")
    assert found["uid"].start >= 131_000 and found["gid"] == Range(100_000, 65_536)


def test_a_host_whose_ids_are_all_taken_ends_with_a_problem(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Failed(Exception):
        pass

    def fail_json(msg: str) -> None:
        raise Failed(msg)

    service.uids = range(100_000, 7_000_000)
    monkeypatch.setattr(Module, "fail_json", staticmethod(fail_json), raising=False)
    with pytest.raises(Failed, match="no 65536 consecutive ids are free"):
        plan(monkeypatch, tmp_path, "", "SUB_UID_MAX 6000000\n")


@pytest.mark.parametrize(("sources", "warned"), [("files systemd", False), ("files [NOTFOUND=return] sss", True)])
def test_a_range_in_use_with_ids_of_a_directory_is_reported(
    service: Service, monkeypatch: pytest.MonkeyPatch, sources: str, warned: bool
) -> None:
    monkeypatch.setattr(subordinate_ids, "read", lambda path: f"passwd: {sources}  # sss\ngroup: files\nhosts: dns\n")
    held, free = Range(165_536, 65_536), Range(700_000, 65_536)
    in_use = Plan(ranges={"tao": {"uid": held, "gid": held}, "geo": {"uid": free, "gid": free}})
    found = list(subordinate_ids.inhabited_ranges(in_use))
    assert len(found) == 2 * warned
    if warned:
        assert "the range 165536:65536 of tao holds the uid 200500," in found[0] and "gid 200512" in found[1]
        assert "usermod --del-subuids 165536-231071 tao" in found[0]
    assert len(probes(held, WIDE_STRIDE)) < 300
    fresh = Plan(ranges=in_use.ranges, additions=in_use.ranges)
    assert list(subordinate_ids.inhabited_ranges(fresh)) == [], "new ones were asked for already"


def test_what_is_asked_is_few_and_within(service: Service) -> None:
    for start in (100_000, 165_536, 200_000, 231_072, 399_000, 2_000_000_000):
        ids = Range(start, 65_536)
        asked = probes(ids)
        assert {ids.start, ids.last} <= set(asked) and min(asked) == ids.start and max(asked) == ids.last
        assert len(asked) < 1000
    assert 200_512 in probes(Range(165_536, 65_536)) and 201_104 in probes(Range(200_000, 65_536))


def test_around() -> None:
    assert around(200_500) == Range(200_000, 200_000) and around(1_234_567) == Range(1_200_000, 200_000)
    assert around(130_000) == Range(130_000, 256)
