# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of groups in the hub's own package. tests/integration/test_hub_together.py has people who work in one."""

from __future__ import annotations

import asyncio
import json
import urllib.error
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from carrel_hub import config, files, owners, people, spawner
from carrel_hub import roster as roster_service
from carrel_hub.authenticators import CarrelDummyAuthenticator, CarrelOidcAuthenticator
from carrel_hub.group_servers import GroupServer, GroupServers
from carrel_hub.people import Roster
from carrel_hub.roster import changes, left_groups
from carrel_hub.several import CarrelSeveralAuthenticator
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader
from jupyterhub import orm, roles, scopes
from test_hub_image import CONFIG, SECRETS

ROSTER = {
    "version": 1, "blocked": [], "groups": {"stat": ["ada", "group-stat"]},
    "users": {
        "ada": {"identity": "ada", "admin": False},
        "group-stat": {"identity": "group:stat", "admin": False, "server_of": "stat"},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    (tmp_path / "roster.json").write_text(json.dumps(ROSTER))


def test_nobody_logs_in_with_the_name_of_a_server() -> None:
    assert not CarrelDummyAuthenticator().check_blocked_users("group-stat")
    assert CarrelDummyAuthenticator().check_blocked_users("ada")
    model = {"name": "group-stat", "identity": "group:stat"}
    guests = CarrelOidcAuthenticator(guests=True, everybody=True)
    assert not asyncio.run(guests.check_blocked_users("group-stat", model))


def test_of_several_authenticators_none_has_the_name_and_its_server_still_works() -> None:
    gate = CarrelSeveralAuthenticator(members=[])
    assert asyncio.run(gate.refresh_user(SimpleNamespace(name="group-stat", admin=False)))
    assert not asyncio.run(gate.refresh_user(SimpleNamespace(name="ada", admin=False)))


def test_who_signed_up_with_the_name_of_a_later_server_is_logged_out() -> None:
    roster = people.parse(ROSTER)
    names, known = ["ada", "group-stat"], {"ada": "ada"}
    assert changes(roster, names, ["ada"], True, known) == ({"group-stat"}, {"group-stat"})
    assert changes(roster, names, names, True, {**known, "group-stat": "group:stat"}) == (set(), set())


@pytest.mark.parametrize(("name", "read"), [("ada", True), ("group-stat", False)])
def test_a_server_of_a_group_reads_no_configuration_that_former_members_left_in_its_home(
    name: str, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawner, "DIRECTORY", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "mounts.json").write_text(
        json.dumps({"version": 1, "user": [], "admins": [], "everyone": [], "groups": {}})
    )
    server = spawner.CarrelSpawner(instance="class101", user=SimpleNamespace(name=name))
    server._prepare()
    assert server.disable_user_config is not read


@pytest.mark.parametrize(
    ("before", "named", "deleted", "provider", "left"),
    [
        ({"ada", "group-stat"}, {}, set(), {}, False),
        ({"ada", "group-stat"}, {"stat": ["ada", "group-stat"]}, {"carl"}, {}, False),
        ({"ada", "eve", "group-stat"}, {}, set(), {}, True),
        ({"ada", "group-stat"}, {}, {"ada"}, {}, True),
        ({"ada", "eve", "group-stat"}, {"stat": ["ada"]}, set(), {"stat": ["cn=stat"]}, False),
        ({"ada", "eve", "group-stat"}, {"stat": ["ada"]}, {"eve"}, {"stat": ["cn=stat"]}, True),
        ({"ada", "eve", "group-stat"}, {"stat": ["ada", "eve"]}, set(), {"stat": ["cn=stat"]}, True),
    ],
)
def test_who_is_taken_out_of_a_group_has_left_it(
    before: set[str], named: dict[str, list[str]], deleted: set[str], provider: dict[str, Any], left: bool
) -> None:
    roster = Roster(ROSTER["users"], frozenset(), ROSTER["groups"], provider)  # type: ignore[arg-type]
    # geo and empty are not in the inventory any more
    groups = {"stat": before, "geo": {"carl"}, "empty": set[str]()}
    assert left_groups(roster, groups, named, deleted) == {"geo", *(["stat"] if left else [])}


class Sharing(roster_service.Hub):
    """In place of the hub's API, which tests/integration has: members, and the owners of servers that are shared."""

    def __init__(self, users: list[str], groups: dict[str, list[str]], shared: dict[str, list[str]]) -> None:
        super().__init__("", "")
        self.asked: list[str] = []
        users, groups = list(users), {name: list(members) for name, members in groups.items()}
        self.pages = {
            "/users": [{"name": name} for name in users],
            "/groups": [{"name": name, "users": members} for name, members in groups.items()],
            **{f"/users/{name}/shared": [] for name in users},
            **{f"/groups/{name}/shared": [] for name in groups},
            **{f"/{place}/shared": [{"server": {"user": {"name": name}, "name": ""}} for name in owners]
               for place, owners in shared.items()},
        }  # fmt: skip

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if method == "GET":
            return {"items": self.pages[path.partition("?")[0]], "_pagination": {"next": None}}
        self.asked.append(f"{method} {path}")
        return None


@pytest.mark.parametrize(
    ("users", "groups", "stopped"),
    [
        (["ada", "carl", "eve"], {"stat": ["carl", "eve"]}, []),
        (["ada", "carl", "eve"], {"stat": ["carl"]}, ["ada"]),  # shared with the group
        (["ada", "carl", "eve"], {}, ["ada"]),
        (["ada", "carl"], {"stat": ["carl"]}, ["ada", "carl"]),  # also with eve
        (["ada"], {}, ["ada", "carl"]),  # carl's stopped when he was deleted
    ],
)
def test_servers_that_were_shared_with_whoever_leaves_stop(
    users: list[str], groups: dict[str, list[str]], stopped: list[str], tmp_path: Path
) -> None:
    people_now = {name: {"identity": name, "admin": False} for name in users}
    (tmp_path / "roster.json").write_text(json.dumps({**ROSTER, "users": people_now, "groups": groups}))
    identities = {name: name for name in ("ada", "carl", "eve")}
    files.write_state(owners.LISTED, {"names": [*identities], "identities": identities})
    shared = {"groups/stat": ["ada"], "users/eve": ["carl"]}
    hub = Sharing([*identities], {"stat": ["carl", "eve"]}, shared)
    assert roster_service.apply(hub, guests=False)
    stops = [f"DELETE /users/{name}/server" for name in stopped]
    assert sorted(call for call in hub.asked if call.endswith("/server")) == stops
    # not before the access ends: open pages would connect again
    assert not stops or set(hub.asked[-len(stops) :]) == set(stops)
    assert files.read_state(owners.LISTED)["stop"] == []


def test_a_server_is_to_be_stopped_until_the_hub_has_done_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In place of the hub's API, which tests/integration has: members, and what happens to the calls that stop."""

    class Asked(roster_service.Hub):
        def call(self, method: str, path: str, body: Any = None) -> Any:
            if path.startswith("/groups/stat/shared"):
                return {"items": [], "_pagination": {"next": None}}
            if method == "GET":
                items = [{"name": name, "users": ["ada", *members]} for name in ("ada", "group-stat", "stat")]
                kind = items[2:] if path.startswith("/groups") else items[:2]
                return {"items": kind, "_pagination": {"next": None}}
            asked.append(f"{method} {path}")
            if path == "/groups/stat/users":
                assert files.read_state(owners.LISTED)["stop"] == ["group-stat"], "also if it is killed now"
                members.clear()
            elif answers:
                raise answers.pop(0)
            return None

    asked: list[str] = []
    members = ["eve", "group-stat"]
    busy = urllib.error.HTTPError("", 503, "busy", Message(), None)
    answers: list[OSError] = [TimeoutError(), busy]
    content = {**ROSTER, "groups": {"stat": ["ada"]}}
    (tmp_path / "roster.json").write_text(json.dumps(content))
    identities = {"ada": "ada", "group-stat": "group:stat"}
    files.write_state(owners.LISTED, {"names": [*identities], "identities": identities})
    hub = Asked("", "")
    assert [roster_service.apply(hub, guests=False) for _unused in range(4)] == [False, False, True, True]
    assert asked == ["DELETE /groups/stat/users", *["DELETE /users/group-stat/server"] * 3]
    assert files.read_state(owners.LISTED)["stop"] == []
    answers.append(urllib.error.HTTPError("", 404, "the user is deleted", Message(), None))
    assert roster_service.stop(hub, "group-stat")


def test_people_see_the_servers_of_their_groups() -> None:
    db = orm.new_session_factory("sqlite://")()
    ada, eve, server = (orm.User(name=name) for name in ("ada", "eve", "group-stat"))
    groups = [orm.Group(name="stat", users=[ada, server]), orm.Group(name="geo", users=[ada, eve])]
    db.add_all([ada, eve, server, *groups])
    db.commit()
    shown = GroupServers({"stat": "group-stat", "later": "group-later"})

    def of(user: Any) -> list[GroupServer]:
        return shown(SimpleNamespace(name=user.name, groups=user.groups, db=db))

    assert of(ada) == [GroupServer("stat", "group-stat", runs=False)]
    db.add(orm.Spawner(user=server, name="", server=orm.Server()))
    db.commit()
    assert of(ada) == [GroupServer("stat", "group-stat", runs=True)]
    assert of(eve) == [] and of(server) == [] and shown(None) == []
    db.close()


def test_members_get_the_server_of_their_group_and_nothing_else() -> None:
    servers = {"stat": "group-stat"}
    roles = config.traits({**CONFIG, "group_servers": servers}, SECRETS, Path("/x"))["JupyterHub"]["load_roles"]
    (role,) = (role for role in roles if "groups" in role)
    assert role["groups"] == ["stat"]
    assert role["scopes"] == ["access:servers!user=group-stat", "servers!user=group-stat"]


def test_who_is_in_the_group_has_these_rights_in_jupyterhub() -> None:
    db = orm.new_session_factory("sqlite://")()
    ada, eve, server = (orm.User(name=name) for name in ("ada", "eve", "group-stat"))
    group = orm.Group(name="stat", users=[ada])
    db.add_all([ada, eve, server, group])
    given = config.traits({**CONFIG, "group_servers": {"stat": "group-stat"}}, SECRETS, Path("/x"))
    (role,) = (role for role in given["JupyterHub"]["load_roles"] if "groups" in role)
    roles.create_role(db, role)
    in_database = orm.Role.find(db, role["name"])
    in_database.groups.append(group)
    wanted = {f"{scope}!user=group-stat" for scope in ("access:servers", "start:servers", "delete:servers")}
    assert wanted <= scopes.get_scopes_for(ada)
    group.users.remove(ada)
    assert not wanted & scopes.get_scopes_for(ada) and not wanted & scopes.get_scopes_for(eve)
    db.close()


@pytest.mark.parametrize(
    ("server", "shown", "hidden"),
    [
        (GroupServer("stat", "group-stat", runs=False), "Start the group's server", "Stop the group's server"),
        (GroupServer("stat", "group-stat", runs=True), "Stop the group's server", "Start the group's server"),
    ],
)
def test_the_page_home_offers_what_can_be_done(server: GroupServer, shown: str, hidden: str) -> None:
    frame = DictLoader({"templates/home.html": "{% block main %}{% endblock %}{% block script %}{% endblock %}"})
    loader = ChoiceLoader([frame, FileSystemLoader(Path(config.__file__).parent / "templates")])
    template = Environment(loader=loader, autoescape=True).get_template("home.html")
    page = template.render(carrel_group_servers=[server], base_url="/hub/")
    assert shown in page and hidden not in page
    assert 'href="/hub/spawn/group-stat"' in page and ("carrel-stop" in page.partition("<script>")[0]) is server.runs
    assert "<h2>" not in template.render(carrel_group_servers=[], base_url="/hub/")
