# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the plan of an inventory to who may use its hubs, by the module on real files; and that this comes first."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub_access import access
from plan_helpers import good, hub
from plan_hub_cases import OIDC
from test_install_files import four_runs, run

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = [
    {"name": "prof", "admin": True, "password": "professor"},
    {"name": "ada", "password": "ada's $5 pässword", "groups": ["stat"]},
    {"name": "bob", "groups": ["stat"]},
]
ENGINES = {name: {"uid": 1234, "gid": 4321} for name in ("class101", "class102")}

NORMALIZED: dict[str, Any] = {"authenticator": OIDC, "normalize_usernames": True}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")


def wanted(folder: Path, *hubs: dict[str, Any], kind: str = "hub") -> dict[str, Any]:
    """The module's parameters for an inventory, on a host that has both hubs."""
    plan = good([hub(**{"groups": {"stat": {}, "geo": {}}, **keys}) for keys in hubs], base_dir=str(folder))
    instances = {name: {"name": name, "kind": kind, "port": 8801} for name in ENGINES}
    return access(plan["hub_instances"], {"instances": instances, "engines": ENGINES})


def on_host(folder: Path, name: str = "class101") -> Path:
    """What a hub has whose groups' directory `geo` was never made."""
    (folder / name / "hub").mkdir(parents=True)
    for directory in ("shared", "colab", "groups/stat"):
        (folder / name / "data" / directory).mkdir(parents=True)
    return folder / name / "hub"


def content(file: Path) -> Any:
    return json.loads(file.read_text())


def test_people_who_left_are_out_and_missing_directories_are_not_mounted(tmp_path: Path) -> None:
    files = on_host(tmp_path)
    four_runs("hub_access", **wanted(tmp_path, {"users": PEOPLE}))
    assert set(content(files / "roster.json")["users"]) == {"prof", "ada", "bob"}
    assert content(files / "passwords.json") == {person["name"]: person["password"] for person in PEOPLE[:2]}
    groups = content(files / "mounts.json")["groups"]
    assert groups["stat"]["members"] == ["ada", "bob"] and groups["stat"]["mounts"] and not groups["geo"]["mounts"]
    for name, owner, mode in (("roster", 0, 0o640), ("mounts", 0, 0o640), ("passwords", 1234, 0o600)):
        status = (files / f"{name}.json").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (owner, 4321, mode)

    four_runs("hub_access", **wanted(tmp_path, {"users": [*PEOPLE[:1], {"name": "bob"}], "blocked_users": ["eve"]}))
    roster = content(files / "roster.json")
    assert set(roster["users"]) == {"prof", "bob"} and roster["blocked"] == ["eve"]
    assert content(files / "passwords.json") == {"prof": "professor"}
    assert content(files / "mounts.json")["groups"]["stat"]["members"] == []


def test_somebody_else_with_the_same_name_waits_for_the_archive(tmp_path: Path) -> None:
    files = on_host(tmp_path)
    os.chown(files, 0, 4321)
    terms = [
        [{"name": f"{person}@students.uni-heidelberg.de", "groups": ["stat"]}, {"name": "bob@uni.example"}]
        for person in ("anna.schmidt", "anna.mueller")
    ]
    four_runs("hub_access", **wanted(tmp_path, {"users": terms[0], **NORMALIZED}))
    (name,) = set(content(files / "roster.json")["users"]) - {"bob--uni-example"}
    assert content(files / "identities.json")["users"] == {}, "user_volumes records people, and the roster says it"
    four_runs("hub_access", **wanted(tmp_path, {"users": terms[1], **NORMALIZED}))
    roster = content(files / "roster.json")
    assert set(roster["users"]) == {"bob--uni-example"} and roster["groups"]["stat"] == []
    assert content(files / "identities.json")["users"] == {
        name: {"identity": "anna.schmidt@students.uni-heidelberg.de", "since": 0}
    }
    status = (files / "identities.json").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 4321, 0o640)
    four_runs("hub_access", **wanted(tmp_path, {"users": terms[0], **NORMALIZED}))
    assert set(content(files / "roster.json")["users"]) == {name, "bob--uni-example"}


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("identities.json", {"bob--uni-example": {"identity": "b.ob@uni.example", "member_at": 0}, "x": {}, "y": 5}),
        ("roster-listed.json", {"names": [], "identities": {"bob--uni-example": "b.ob@uni.example"}}),
    ],
)
def test_a_name_that_the_hub_gave_to_a_guest_or_that_left_waits_too(tmp_path: Path, file: str, known: Any) -> None:
    files = on_host(tmp_path)
    state = tmp_path / "class101" / "data" / "hub"
    state.mkdir()
    (state / file).write_text(json.dumps(known))
    arguments = wanted(tmp_path, {"users": ["bob@uni.example", "ada@uni.example"], **NORMALIZED})
    four_runs("hub_access", **arguments)
    assert set(content(files / "roster.json")["users"]) == {"ada--uni-example"}
    # What the account writes is nothing to fail by, and no link is followed.
    bad = [known_as(known, identity) for identity in ("\ud800", "\x1b[2J", "a\nb", "\u202e", "x" * 1001)]
    for damage in ("[", '{"identities": 1}', "[" * 100_000, *bad):
        (state / file).write_text(damage)
        for ours in ("identities.json", "roster.json"):
            (files / ours).unlink(missing_ok=True)
        assert run("hub_access", **arguments)["failures"] == []
        assert set(content(files / "roster.json")["users"]) == {"ada--uni-example", "bob--uni-example"}
        assert content(files / "identities.json")["users"] == {}
    (state / file).unlink()
    os.mkfifo(state / file)
    assert run("hub_access", **arguments)["failures"] == []
    assert set(content(files / "roster.json")["users"]) == {"ada--uni-example", "bob--uni-example"}


def test_the_server_of_a_group_waits_until_its_home_is_its_own(tmp_path: Path) -> None:
    """A guest of the native authenticator may have had its name, and is in no record."""
    files = on_host(tmp_path)
    keys: dict[str, Any] = {"users": PEOPLE, "user_domains": True}
    people = {person["name"] for person in PEOPLE}
    four_runs("hub_access", **wanted(tmp_path, {**keys, "groups": {"stat": {"server": True}, "geo": {}}}))
    roster = content(files / "roster.json")
    assert set(roster["users"]) == people and roster["groups"]["stat"] == ["ada", "bob"]
    # user_volumes has archived what was there, and records the group
    record = {"version": 1, "users": {"group-stat": {"identity": "group:stat", "since": 0}}}
    (files / "identities.json").write_text(json.dumps(record))
    both = {**keys, "groups": {"stat": {"server": True}, "geo": {"server": True}}}
    four_runs("hub_access", **wanted(tmp_path, both))
    roster = content(files / "roster.json")
    assert set(roster["users"]) == {*people, "group-stat"}
    assert roster["groups"] == {"stat": ["ada", "bob", "group-stat"], "geo": []}
    # a later group with the name of a removed one has its home
    for groups in ({"stat": {}, "geo": {}}, both["groups"]):
        four_runs("hub_access", **wanted(tmp_path, {**keys, "groups": groups}))
    assert set(content(files / "roster.json")["users"]) == {*people, "group-stat"}


def known_as(known: Any, identity: str) -> str:
    """The hub's file, with another identity."""
    return json.dumps(known).replace("b.ob@uni.example", json.dumps(identity)[1:-1])


def test_a_damaged_record_is_no_reason_to_let_anybody_in(tmp_path: Path) -> None:
    files = on_host(tmp_path)
    (files / "identities.json").write_text('{"version": 2}')
    ((_name, message),) = [
        each.values() for each in run("hub_access", **wanted(tmp_path, {"users": PEOPLE}))["failures"]
    ]
    assert message == (
        f"{files}/identities.json is damaged, or is not of version 1: bring it back from a backup, or remove it"
    )
    assert not (files / "roster.json").exists()


@pytest.mark.parametrize("damage", ['{"version": 1, "users": {},}', "[", None])
def test_a_damaged_record_does_not_keep_anybody_who_left(tmp_path: Path, damage: str | None) -> None:
    files = on_host(tmp_path)
    before = ["ada@uni.example", "b.ob@uni.example", "gone@uni.example"]
    run("hub_access", **wanted(tmp_path, {"users": before, **NORMALIZED}))
    (files / "identities.json").unlink()
    if damage is None:
        (files / "identities.json").symlink_to("/etc/passwd")
    else:
        (files / "identities.json").write_text(damage)
    now = [{"name": name, "groups": ["stat"]} for name in ("Ada@uni.example", "bob@uni.example", "new@uni.example")]
    arguments = wanted(tmp_path, {"users": now, "blocked_users": ["eve@uni.example"], **NORMALIZED})
    for changed in (True, False):
        answer = run("hub_access", **arguments)
        assert answer["changed"] is changed
        assert f"{files}/identities.json" in answer["failures"][0]["message"]
        roster = content(files / "roster.json")
        assert set(roster["users"]) == {"ada--uni-example"}, "and neither the new person nor bob, who was somebody else"
        assert roster["groups"]["stat"] == ["ada--uni-example"] and roster["blocked"] == ["eve--uni-example"]
    (files / "identities.json").unlink()
    assert run("hub_access", **arguments)["failures"] == []
    assert {"ada--uni-example", "new--uni-example"} <= set(content(files / "roster.json")["users"])


def test_nothing_shows_a_password(tmp_path: Path) -> None:
    on_host(tmp_path)
    answer = run("hub_access", **wanted(tmp_path, {"users": PEOPLE}))
    assert "passwords" in str(answer["diff"]) and "pässword" not in json.dumps(answer, ensure_ascii=False)


def test_one_hub_s_fault_keeps_no_other_s_people_in(tmp_path: Path) -> None:
    first, second = on_host(tmp_path), on_host(tmp_path, "class102")
    (first / "roster.json").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").read_bytes()
    other = {"name": "class102", "url": "https://class102.example.org/", "users": ["ada"]}
    answer = run("hub_access", **wanted(tmp_path, {"users": PEOPLE}, other))
    ((name, message),) = [(failure["name"], failure["message"]) for failure in answer["failures"]]
    assert name == "class101" and f"{first}/roster.json is a symbolic link" in message
    assert set(content(second / "roster.json")["users"]) == {"ada"}
    assert Path("/etc/passwd").read_bytes() == before


def test_hubs_that_nobody_uses_yet_are_left_to_the_role(tmp_path: Path) -> None:
    assert wanted(tmp_path, {"state": "absent", "users": PEOPLE})["hubs"] == []
    assert wanted(tmp_path, {"users": PEOPLE}, kind="lab")["hubs"] == []
    answer = run("hub_access", **wanted(tmp_path, {"users": PEOPLE}))
    assert (answer["changed"], answer["failures"]) == (False, [])
    assert list(tmp_path.iterdir()) == []


def test_the_site_playbook_writes_it_before_it_touches_anything_else() -> None:
    listing = subprocess.run(
        ["ansible-playbook", "-i", "host,", "playbooks/site.yml", "--list-tasks"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    plays = re.split(r"^ +play #", listing, flags=re.MULTILINE)
    tasks = [re.findall(r"^ +(carrel\.jupyter\.\w+ : .*?)\s*TAGS", play, re.MULTILINE) for play in plays]
    first = "carrel.jupyter.hub : Access | Read the engines, instances and packages of the host"
    assert [found[0] for found in tasks if found] == [first] * 2, "for later batches, and for each batch itself"
