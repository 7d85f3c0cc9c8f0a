# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hub's own program decides. tests/integration has the same hub at work."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import MountsError
from carrel_hub import config, domains, files, people, provider_groups, spawner, spawning
from carrel_hub import roster as roster_service
from carrel_hub.files import Unusable
from carrel_hub.people import Roster
from carrel_hub.roster import changes, memberships
from dockerspawner import DockerSpawner
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SpawnException
from jupyterhub.user import User
from jupyterhub.utils import subdomain_hook_idna
from traitlets import HasTraits
from traitlets.config import Config
from traitlets.utils.importstring import import_item

STATE = Path("/srv/jupyterhub")
SECRETS = {
    "cookie_secret": "ab" * 32, "proxy_token": "proxy", "metrics_token": "metrics", "reset_token": "reset",
    "database_password": "p@ss/%", "client_secret": "client", "dummy_password": "dummy",
    "services/stats": "stats",
}  # fmt: skip
LIMITS = {"memory": None, "swap": None, "cpus": None, "pids": None}
CONFIG: dict[str, Any] = {
    "version": 1, "name": "class101", "url": "https://example.org/class/", "base_url": "/class/",
    "network": "class101_users", "images": [{"title": "Lab", "image": "lab:1"}, {"title": "R", "image": "r:1"}],
    "command": ["jupyterhub-singleuser"], "home": "/home/jovyan/work", "volumes": [], "mounts": [],
    "environment": {"A": "b"}, "limits": LIMITS, "devices": [], "gpu_devices": [],
    "controllers": ["memory"], "host_config": {"cap_drop": ["ALL"]},
    "normalize_usernames": False,
    "authenticator": {"type": "native", "signup": False}, "shutdown_on_logout": False, "default_url": "/lab",
    "culler": {"idle_seconds": 3600, "max_age_seconds": 7, "every_seconds": 300}, "concurrent_spawns": 20,
    "active_servers": 0, "spawn_timeout_seconds": 60, "http_timeout_seconds": 61, "database": {"type": "sqlite"},
    "notice_html": None, "extra_config": [], "services": [], "backups": False, "provider_groups": [],
    "user_domains": False, "sharing": False, "egress": None, "group_egress": {}, "group_servers": {},
}  # fmt: skip
OWN: dict[str, Any] = {"settings": {}, "secret_settings": [], "guests": False}
OAUTH = {"client_id": "id", "username_claim": "preferred_username", **OWN}
AUTHENTICATORS: dict[str, dict[str, Any]] = {
    "native": {"signup": True},
    "github": {**OAUTH, "allowed_organizations": ["uni"]},
    "azuread": {**OAUTH, "tenant_id": "tenant", "cloud": "us"},
    "gitlab": {**OAUTH, "settings": {"gitlab_url": "https://gitlab.uni.example"}},
    "google": OAUTH,
    "cilogon": OAUTH,
    "ldap": {**OWN, "server_address": "ldap", "settings": {"allowed_groups": ["cn=a"]}},
    "oidc": {**OAUTH, "authorize_url": "https://a", "token_url": "https://t", "userdata_url": "https://u",
             "scopes": ["openid"], "login_service": "the university", "groups_claim": "groups"},
    "dummy": {},
}  # fmt: skip


def given(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CONFIG), **more}


def user(**more: Any) -> dict[str, Any]:
    return {"identity": "x", "admin": False, **LIMITS, **more}


@pytest.mark.parametrize("kind", AUTHENTICATORS)
def test_every_trait_exists_and_takes_its_value(kind: str) -> None:
    settings = config.traits(given(authenticator={"type": kind, **AUTHENTICATORS[kind]}), SECRETS, STATE)
    hub = settings["JupyterHub"]
    classes = {
        "JupyterHub": JupyterHub,
        "CryptKeeper": import_item("jupyterhub.crypto.CryptKeeper"),
        "ConfigurableHTTPProxy": import_item("jupyterhub.proxy.ConfigurableHTTPProxy"),
        "CarrelSpawner": import_item(hub["spawner_class"]),
        hub["authenticator_class"].rpartition(".")[2]: import_item(hub["authenticator_class"]),
    }
    assert settings.keys() == classes.keys()
    for name, values in settings.items():
        known = classes[name].class_traits(config=True)
        assert values.keys() <= known.keys(), name
        for key, value in values.items():
            known[key].validate(HasTraits(), value)


def test_services_have_the_scopes_that_they_need_and_no_more() -> None:
    hub = config.traits(given(), SECRETS, STATE)["JupyterHub"]
    assert {role["services"][0]: role["scopes"] for role in hub["load_roles"]} == {
        "metrics": ["read:metrics"],
        "reset": ["list:users", "servers"],
        "proxy": ["proxy"],
        "roster": ["admin:users", "admin:groups", "read:users:shares", "read:groups:shares", "delete:servers"],
        "idle-culler": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
    assert not any(service.get("admin") for service in hub["services"])
    without = config.traits(given(culler={"idle_seconds": 0}), SECRETS, STATE)["JupyterHub"]
    assert [service["name"] for service in without["services"]] == ["metrics", "reset", "proxy", "roster"]


def test_with_domains_services_that_the_hub_starts_protect_their_cookies() -> None:
    def environments(domains: bool) -> list[Any]:
        own: list[dict[str, Any]] = [
            {"name": "stats", "url": None, "command": ["stats"], "environment": {"A": "b"}},
            {"name": "plain", "url": None, "command": ["plain"], "environment": None},
            {"name": "given", "url": None, "command": ["given"], "environment": {name: "0"}},
            {"name": "elsewhere", "url": "http://x", "command": None, "environment": None},
        ]
        own = [{**each, "scopes": [], "access": []} for each in own]
        more = {f"services/{each['name']}": "x" for each in own}
        settings = config.traits(given(services=own, user_domains=domains), {**SECRETS, **more}, STATE)
        found = {each["name"]: each.get("environment") for each in settings["JupyterHub"]["services"]}
        return [found[each["name"]] for each in own]

    name = "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED"
    assert environments(True) == [{name: "1", "A": "b"}, {name: "1"}, {name: "0"}, None]
    assert environments(False) == [{"A": "b"}, None, {name: "0"}, None]


def test_nobody_gets_the_domain_of_somebody_else() -> None:
    """As JupyterHub itself makes addresses. With its own function these two names have the same domain."""
    twins = ("alan.turing29267@uni.example", "alan.turing29903@uni.example")
    settings = config.traits(given(user_domains=True), SECRETS, STATE)["JupyterHub"]
    hub = JupyterHub(config=Config(JupyterHub={key: settings[key] for key in ("subdomain_host", "subdomain_hook")}))
    database = orm.new_session_factory("sqlite://")()

    def address(name: str) -> str:
        owner = orm.User(name=name)
        database.add(owner)
        database.commit()
        told = {"subdomain_hook": hub.subdomain_hook, "subdomain_host": hub.subdomain_host, "domain": "hub.test"}
        return str(User(owner, told, database).domain)

    assert len({subdomain_hook_idna(name, "hub.test", "user") for name in twins}) == 1
    first, second = map(address, twins)
    assert first != second
    assert re.fullmatch("u-alanturi--[0-9a-f]{32}[.]hub[.]test", first)
    for name, label in (("ada", "ada"), ("jörg", "xn--jrg-sna")):
        assert address(name) == f"{label}.hub.test"
    for name in ("u-alanturi--0123456", "a--service", "-", "7", "a_b", "x" * 64):
        assert re.fullmatch("u-[0-9a-z]{1,8}--[0-9a-f]{32}[.]hub[.]test", address(name)), name
    assert domains.subdomain("backups", "hub.test", "service") == "backups--service.hub.test"


def test_no_secret_is_in_a_command_line() -> None:
    hub = config.traits(given(), SECRETS, STATE)["JupyterHub"]
    commands = json.dumps([service.get("command") for service in hub["services"]])
    assert not any(secret in commands for secret in SECRETS.values())


@pytest.mark.parametrize(("url", "secure"), [("https://example.org/class/", True), ("http://localhost/class/", False)])
def test_cookies_are_for_https_only_where_there_is_https(url: str, secure: bool) -> None:
    hub = config.traits(given(url=url), SECRETS, STATE)["JupyterHub"]
    assert hub.get("tornado_settings", {}).get("cookie_options", {}).get("secure", False) is secure


def test_users_have_domains_with_cookies_that_no_other_domain_can_set() -> None:
    found = config.traits({**CONFIG, "user_domains": True, "url": "https://h.test:8443/"}, SECRETS, Path("/x"))
    assert found["JupyterHub"]["subdomain_host"] == "https://h.test:8443"
    assert found["JupyterHub"]["cookie_host_prefix_enabled"] is True
    plain = config.traits(CONFIG, SECRETS, Path("/x"))["JupyterHub"]
    assert not {"subdomain_host", "cookie_host_prefix_enabled"} & plain.keys()


def test_people_share_what_is_theirs_and_get_no_list_of_others() -> None:
    roles = config.traits({**CONFIG, "sharing": True}, SECRETS, Path("/x"))["JupyterHub"]["load_roles"]
    (role,) = (role for role in roles if role["name"] == "user")
    assert role["scopes"] == ["self", "shares!user", "read:users:name", "read:groups:name"]
    plain = config.traits(CONFIG, SECRETS, Path("/x"))["JupyterHub"]["load_roles"]
    assert "user" not in [role["name"] for role in plain]


def test_the_database_s_url_quotes_the_password() -> None:
    database = {"type": "postgresql", "host": "database", "name": "jupyterhub", "user": "hub"}
    url = config.database_url(given(database=database), SECRETS, STATE)
    assert url == "postgresql+psycopg://hub:p%40ss%2F%25@database/jupyterhub"
    assert config.database_url(given(), SECRETS, STATE) == "sqlite:////srv/jupyterhub/jupyterhub.sqlite"


def test_another_version_is_refused() -> None:
    with pytest.raises(Unusable, match="version 2"):
        config.traits(given(version=2), SECRETS, STATE)


def test_one_image_is_no_choice() -> None:
    assert config.traits(given(), SECRETS, STATE)["CarrelSpawner"]["allowed_images"] == {"Lab": "lab:1", "R": "r:1"}
    one = given(images=[{"title": "Lab", "image": "lab:1"}])
    assert config.traits(one, SECRETS, STATE)["CarrelSpawner"]["allowed_images"] == {}


def test_the_container_s_name_is_dockerspawner_s_own_escape() -> None:
    spawner = import_item(config.traits(given(), SECRETS, STATE)["JupyterHub"]["spawner_class"])
    assert issubclass(spawner, DockerSpawner)
    assert spawner(instance="class101").name_template == "class101_{username}"
    assert "_escape" not in vars(spawner) and "escape" not in vars(spawner)


MOUNTS = {
    "version": 1, "admins": [], "groups": {},
    "everyone": [{"source": "/srv/s", "target": "/h/shared", "members": "ro", "admins": "rw"}],
    "user": [{"source": "/srv/u/{username}/home", "target": "/h"}],
}  # fmt: skip


def test_mounts_of_all_three_kinds_those_further_up_first() -> None:
    more = given(
        mounts=[{"source": "/srv/o.json", "target": "/opt/o.json", "read_only": True}],
        volumes=[{"name": "cache", "target": "/h/.cache"}],
    )
    assert spawning.mounts(more, json.dumps(MOUNTS), "ada@uni") == [
        {"type": "bind", "source": "/srv/u/ada-40uni/home", "target": "/h", "read_only": False},
        {"type": "volume", "source": "class101_ada-40uni_cache", "target": "/h/.cache", "read_only": False}
        | {"no_copy": True},
        {"type": "bind", "source": "/srv/s", "target": "/h/shared", "read_only": True},
        {"type": "bind", "source": "/srv/o.json", "target": "/opt/o.json", "read_only": True},
    ]
    with pytest.raises(MountsError):
        spawning.mounts(more, "{", "ada")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ('invalid mount config for type "bind": bind source path does not exist: /srv/x', spawning.NO_DIRECTORY),
        ("error while creating mount source path '/srv/x': mkdir /srv/x: permission denied", spawning.NO_DIRECTORY),
        ("No such image: lab:1", spawning.NO_IMAGE),
        ('Conflict. The container name "/class_ada" is already in use by container "5f"', spawning.STILL_THERE),
        ("network with name class_users_ada already exists", spawning.STILL_THERE),
        ("error while removing network: network class_users_ada has active endpoints", spawning.STILL_THERE),
        ("driver failed programming external connectivity", None),
    ],
)
def test_docker_s_errors_in_a_user_s_words(error: str, text: str | None) -> None:
    assert spawning.explain(error) == text
    assert text is None or "/" not in text


def test_a_graphics_card_is_free_while_no_container_of_the_hub_has_it() -> None:
    cards = ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=10"]
    containers = [{"Labels": {spawning.GPUS: "nvidia.com/gpu=10,nvidia.com/gpu=0"}}, {"Labels": None}, {"Labels": {}}]
    assert spawning.free_gpus(cards, containers) == ["nvidia.com/gpu=1"]
    assert spawning.free_gpus(cards, []) == cards


def test_people_without_a_graphics_card_read_how_many_are_free() -> None:
    assert "needs a graphics card, and none of this hub's are free" in spawning.no_gpus(1, 0)
    assert "needs 2 graphics cards, and 1 of this hub's is free" in spawning.no_gpus(2, 1)


def test_a_start_waits_for_a_graphics_card_that_docker_is_freeing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of Docker, which gives cards to nobody here: what it lists, and whether another one may choose."""
    card = "nvidia.com/gpu=0"
    states = ["running", "exited", "removing", "dead", "created", "paused"]
    held = {state: {"State": state, "Labels": {spawning.GPUS: card}} for state in states}
    assert [each["State"] for each in spawning.staying(held.values())] == ["running", "created", "paused"]

    async def made(self: Any) -> str:
        assert spawner._CHOOSING.locked()
        return "made"

    class Spawner(spawner.CarrelSpawner):  # type: ignore[misc]
        _gpus, _gpu_devices, _devices, _host_config = 1, [card], [], {}

        async def docker(self, method: str, **options: Any) -> Any:
            return listed.pop(0)

    async def created(*lists: list[Any]) -> Any:
        listed[:] = lists
        return await Spawner(instance="class101").create_object()

    listed: list[Any] = []
    monkeypatch.setattr(DockerSpawner, "create_object", made)
    monkeypatch.setattr(spawner, "LOOK_SECONDS", 0)
    assert asyncio.run(created([held["exited"]], [held["removing"]], [])) == "made"
    with pytest.raises(spawning.SpawnRefused, match="none of this hub's are free") as refused:
        asyncio.run(created([held["exited"]], [held["running"]]))
    # JupyterHub's metrics count it as a failure (handlers/base.py), and it shows this text.
    assert isinstance(refused.value, SpawnException) and refused.value.reason == "no-gpus"
    assert refused.value.jupyterhub_message == refused.value.message
    assert "none of this hub's are free" in refused.value.message
    assert not isinstance(spawning.SpawnRefused(spawning.NO_IMAGE), SpawnException), "a fault"
    monkeypatch.setattr(spawner, "REMOVED_WITHIN_SECONDS", 0)
    with pytest.raises(spawning.SpawnRefused):
        asyncio.run(created([held["dead"]]))
    assert not spawner._CHOOSING.locked()


def test_docker_is_asked_for_devices_only_where_there_are_some() -> None:
    (request,) = spawning.device_requests(["nvidia.com/gpu=0"])
    assert request["driver"] == "cdi" and request["device_ids"] == ["nvidia.com/gpu=0"]
    assert spawning.device_requests([]) == []


def test_the_roster_answers_and_a_damaged_one_is_refused() -> None:
    roster = people.parse({"version": 1, "users": {"ada": user(admin=True), "bob": user(memory=5)}, "blocked": ["ada"]})
    assert not roster.lists("ada") and not roster.admin("ada") and roster.lists("bob") and not roster.lists("eve")
    assert roster.limits("bob", LIMITS)["memory"] == 5
    assert roster.limits("eve", {**LIMITS, "memory": 9})["memory"] == 9
    for damaged in (
        {},
        {"version": 1, "users": {"ada": {}}, "blocked": []},
        {"version": 2, "users": {}, "blocked": []},
        {"version": 1, "users": {}, "blocked": [], "groups": []},
        {"version": 1, "users": {}, "blocked": [], "groups": {"g": "ada"}},
    ):
        with pytest.raises(Unusable):
            people.parse(damaged)


@pytest.mark.parametrize(
    ("guests", "gone"),
    [(False, {"left", "guest", "blocked"}), (True, {"left", "blocked"})],
)
def test_users_to_create_and_to_delete(guests: bool, gone: set[str]) -> None:
    roster = Roster({"ada": user(), "new": user(), "blocked": user()}, frozenset({"blocked"}))
    existing = ["ada", "left", "guest", "blocked"]
    assert changes(roster, existing, ["ada", "left"], guests, {}) == ({"new"}, gone)


def test_the_state_is_for_nobody_else_and_survives_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STATE", tmp_path)
    assert files.read_state("a.json") == {}
    files.write_state("a.json", {"x": 1})
    assert files.read_state("a.json") == {"x": 1}
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(Unusable, match=r"a\.json"):
        files.read_state("a.json")


def test_groups_are_those_of_the_roster_with_the_people_who_may_log_in() -> None:
    listed = {name: user() for name in ("ada", "bob", "eve")}
    roster = Roster(
        listed, frozenset({"eve"}), {"same": ["ada"], "new": ["ada", "eve"], "none": [], "more": ["ada", "bob"]}
    )
    existing = {"same": ["ada"], "more": ["eve", "ada"], "by hand": ["ada"], "none": []}
    assert memberships(roster, existing) == ({"new": {"ada"}, "more": {"bob"}}, {"more": {"eve"}}, {"by hand"})
    assert memberships(Roster({}, frozenset()), {}) == ({}, {}, set())


def test_groups_of_a_provider_are_valid_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 2e9
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(provider_groups.time, "time", lambda: now)
    roster = Roster({}, frozenset(), {}, {"statistics": ["cn=a", "cn=b"]})
    files.write_state(provider_groups.FILE, {"old": ["cn=a"]})
    provider_groups.remember("ada", ["cn=a", "cn=z"])
    assert provider_groups.memberships(roster) == {"statistics": {"ada"}}, "those of versions before log in again"
    now += provider_groups.REMEMBERED_SECONDS - 1
    assert provider_groups.groups_of(roster, "ada") == ["statistics"]
    seen = roster_service.signature()
    provider_groups.remember("ada", ["cn=a", "cn=z"])
    assert roster_service.signature() == seen, "nobody's groups are others"
    now += provider_groups.REMEMBERED_SECONDS - 1
    assert provider_groups.groups_of(roster, "ada") == ["statistics"], "a log-in counts though nothing is new"
    now += 1
    assert roster_service.signature() != seen
    assert provider_groups.groups_of(roster, "ada") == []
    provider_groups.remember("ada", ["cn=b"])
    provider_groups.remember("ada", [])
    assert provider_groups.groups_of(roster, "ada") == []


def test_many_users_come_in_small_parts_then_their_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the hub's API, which tests/integration has: what is asked of it, in which order."""

    class Asked(roster_service.Hub):
        def call(self, method: str, path: str, body: Any = None) -> Any:
            if method == "GET":
                return {"items": [], "_pagination": {"next": None}}
            asked.append((method, path, body))
            return None

    asked: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    names = [f"student{number:03}" for number in range(120)]
    groups = {"a/b": names, "few": names[:1]}
    content = {"version": 1, "users": dict.fromkeys(names, user()), "blocked": [], "groups": groups}
    (tmp_path / "roster.json").write_text(json.dumps(content))
    assert roster_service.apply(Asked("", ""), guests=False)
    parts = [body["usernames"] for _unused, path, body in asked if path == "/users"]
    assert max(len(part) for part in parts) == 10
    assert [name for part in parts for name in part] == names
    assert [each for each in asked if each[1] != "/users"] == [
        ("POST", "/groups/a%2Fb", {"users": []}),
        ("POST", "/groups/few", {"users": []}),
        ("POST", "/groups/a%2Fb/users", {"users": names[:50]}),
        ("POST", "/groups/a%2Fb/users", {"users": names[50:100]}),
        ("POST", "/groups/a%2Fb/users", {"users": names[100:]}),
        ("POST", "/groups/few/users", {"users": names[:1]}),
    ]
