# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator adds to a hub, as the check in the hub's image reads it before anything is replaced."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import hub_own
from carrel_hub import check, config, configuration
from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator, DummyAuthenticator
from jupyterhub.handlers.login import LoginHandler
from test_hub_image import AUTHENTICATORS, OWN, SECRETS, STATE, given
from traitlets.config import Config

NATIVE = {"type": "native", "signup": False}


def problems(text: str = "", authenticator: dict[str, Any] | None = None, **more: Any) -> list[str]:
    files = [{"name": "own.py", "text": text}] if text else []
    return [
        str(problem)
        for problem in check.problems(given(authenticator=authenticator or NATIVE, extra_config=files, **more))
    ]


def oauth(kind: str, **settings: Any) -> dict[str, Any]:
    return {"type": kind, **AUTHENTICATORS[kind], "settings": settings}


@pytest.mark.parametrize(
    "text",
    [
        "c.JupyterHub.template_vars['announcement'] = 'Exam'\n",
        "c.JupyterHub.services.append({'name': 'mine', 'api_token': 'x' * 64})\nc.JupyterHub.load_roles += []\n",
        "def hook(spawner):\n    pass\n\n\nc.Spawner.pre_spawn_hook = hook\n",
        "c = get_config()\nc.JupyterHub.log_level = 10\nc.Spawner.oauth_client_allowed_scopes.append('self')\n",
        # a trait that only a class made of this one has
        "c.Spawner.post_start_cmd = 'true'\n",
        "from __future__ import annotations\nimport json\nc.CarrelSpawner.environment['A2'] = json.dumps(1)\n",
    ],
)
def test_what_adds_to_the_configuration_is_good(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\nx = (\n", "own.py, line 2: '(' was never closed"),
        ("x = 1\0", "own.py, line 1: "),
        ("import nothing_there\n", "own.py, line 1: ModuleNotFoundError: No module named 'nothing_there'"),
        ("def f():\n    1/0\n\n\nf()\n", "own.py, line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "own.py, line 2: SystemExit: 3"),
        ("c.JupyterHub.log_levl = 1\n", "own.py, line 1: JupyterHub has no trait log_levl; did you mean log_level?"),
        ("\nc.JupterHub.log_level = 1\n", "own.py, line 2: there is no class JupterHub; did you mean JupyterHub?"),
        ("c.JupyterHub.active_user_window = 'x'\n", "The 'active_user_window' trait expected an int, not the str 'x'"),
        ("c.JupyterHub.cookie_secret = b''\n", "line 1: c.JupyterHub.cookie_secret can't be changed here: the role"),
        ("x = 1\nc.JupyterHub.services = []\n", "own.py, line 2: c.JupyterHub.services can't be changed here"),
        ("c.JupyterHub.load_roles.pop()\n", "own.py, line 1: c.JupyterHub.load_roles can't be changed here"),
        ("del c.JupyterHub.template_vars['carrel_native']\n", "c.JupyterHub.template_vars can't be changed here"),
        (
            "from traitlets.config import Config\nc.JupyterHub = Config()\n",
            "line 2: c.JupyterHub.spawner_class can't be",
        ),
        ("c.DockerSpawner.remove = False\n", "c.DockerSpawner.remove can't be set here: leave it out, because"),
        ("c.Spawner.cmd = ['x']\n", "c.Spawner.cmd can't be set here: the role sets it"),
        ("c.Authenticator.allow_all = True\n", "c.Authenticator.allow_all can't be set here: write guests: true"),
        ("c.Authenticator.allowed_users = {'eve'}\n", "write the users in users"),
        ("c.JupyterHub.load_groups = {}\n", "write the groups in groups"),
    ],
)
def test_errors_in_extra_config_have_file_and_line(text: str, says: str) -> None:
    found = problems(text)
    assert found and says in found[0], found


def test_errors_in_two_files_are_both_reported_and_later_files_see_earlier_ones() -> None:
    files = [
        {"name": "a.py", "text": "c.JupyterHub.log_levl = 1\nc.JupyterHub.template_vars['a'] = 1\n"},
        {"name": "b.py", "text": "assert c.JupyterHub.template_vars['a'] == 1\nc.Spawner.nothing = 1\n"},
    ]
    found = list(map(str, check.problems(given(authenticator=NATIVE, extra_config=files))))
    assert [line.partition(":")[0] for line in found] == ["a.py, line 1", "b.py, line 2"]


@pytest.mark.parametrize(
    ("authenticator", "says"),
    [
        (oauth("gitlab", gitlab_ur="x"), "authenticator.settings.gitlab_ur: the authenticator has no such trait; did"),
        (oauth("gitlab", manage_groups=True), "manage_groups: write provider_groups beside a group"),
        (oauth("gitlab", allowed_gitlab_groups=["a"]), "counts with guests: true alone"),
        (oauth("gitlab", allow_all=True), "counts with guests: true alone"),
        (oauth("google", client_id="another"), "authenticator.settings.client_id: the role sets it"),
        (oauth("google", enable_pkce="perhaps"), "'enable_pkce' trait"),
        (oauth("cilogon", allowed_idps={"https://idp": {}}), "authenticator.settings: 'username_derivation' is a req"),
        (oauth("oidc", auth_refresh_age=600), "auth_refresh_age: the role sets it"),
        ({**oauth("ldap"), "settings": {"server_prt": 1}}, "did you mean server_port?"),
        ({"type": "custom", **OWN, "class": "nothing.There"}, "authenticator.class: nothing.There cannot be imported"),
        ({"type": "custom", **OWN, "class": "os.path"}, "authenticator.class: os.path is no class of authenticators"),
        ({"type": "custom", **OWN, "class": "jupyterhub.auth.PAMAuthenticator", "settings": {"servce": "x"}},
         "did you mean service?"),
        ({"type": "custom", **OWN, "class": "jupyterhub.auth.PAMAuthenticator", "secret_settings": ["secre"]},
         "authenticator.settings.secre: "),
    ],
)  # fmt: skip
def test_errors_in_an_authenticators_settings_are_reported(authenticator: dict[str, Any], says: str) -> None:
    found = problems(authenticator=authenticator)
    assert len(found) == 1 and says in found[0], found


class Several(Authenticator):  # type: ignore[misc]
    """As jupyterhub-multiauthenticator does it."""

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [("/one/login", type("Login", (LoginHandler,), {"authenticator": DummyAuthenticator()}))]


def test_a_class_that_asks_others_is_refused() -> None:
    (problem,) = problems(authenticator={"type": "custom", **OWN, "class": f"{__name__}.Several"})
    assert problem.endswith("it asks other authenticators, which do not heed the list of users")


@pytest.mark.parametrize(
    "authenticator",
    [
        {
            **oauth("gitlab", allow_all=True, logout_redirect_url="https://uni.example", enable_pkce=False),
            "guests": True,
        },
        oauth("google", hosted_domain=["uni.example"]),
        oauth("oidc"),  # with groups_claim
        oauth("cilogon", allowed_idps={"https://idp": {"username_derivation": {"username_claim": "eppn"}}}),
        {**oauth("ldap"), "settings": {"lookup_dn": True}, "secret_settings": ["lookup_dn_search_password"]},
        {"type": "custom", **OWN, "class": "jupyterhub.auth.PAMAuthenticator", "settings": {"service": "login"}},
    ],
)
def test_a_good_authenticator_has_no_problem(authenticator: dict[str, Any]) -> None:
    assert problems(authenticator=authenticator) == []


def service(name: str, *scopes: str, access: Any = ()) -> dict[str, Any]:
    own = {"url": None, "command": None, "environment": {}}
    return {"name": name, "scopes": list(scopes), "access": access, **own}


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ("list:users!group=x", None),
        ("read:users!user", None),
        ("access:servers!server=ada/", None),
        ("list:user", "list:user; did you mean list:users?"),
        ("list:user!group=x", "list:user!group=x; did you mean list:users?"),
        ("all", "all"),
        ("read:users!usr=ada", "read:users!usr=ada; after ! write user=NAME, group=NAME, server=NAME/ or service=NAME"),
        ("read:users!users", "read:users!users; after ! write user=NAME"),
        ("servers!group", "servers!group; after ! write user=NAME"),
    ],
)
def test_a_scope_that_jupyterhub_refuses_when_it_starts_is_reported(scope: str, says: str | None) -> None:
    found = problems(services=[service("b", "servers"), service("a", "servers", scope)])
    if says is None:
        assert found == []
    else:
        (problem,) = found
        assert problem.startswith(f"services (a): JupyterHub has no scope {says}")


def test_services_have_scopes_that_extra_config_defines() -> None:
    text = "c.JupyterHub.custom_scopes = {'custom:roll:read': {'description': 'read the roll'}}\n"
    assert problems(text, services=[service("roll-call", "custom:roll:read")]) == []
    (problem,) = problems(text, services=[service("roll-call", "custom:roll:write")])
    assert "roll-call" in problem and "'custom:roll:write'" in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("c.JupyterHub.load_roles.append({'name': 'mine', 'scopes': ['list:user']})\n", "'list:user' for role mine"),
        ("c.JupyterHub.load_roles.append({'name': 'Mine', 'scopes': []})\n", "Invalid role name: 'Mine'."),
        ("c.JupyterHub.load_roles.append({'name': 'admin', 'scopes': []})\n", "Cannot override admin role"),
        ("c.JupyterHub.load_roles.append({'name': 'roster-service'})\n", "Role roster-service multiply defined"),
        ("c.JupyterHub.extra_user_scopes = ['list:user']\n", "'list:user' for role user"),
        ("c.JupyterHub.custom_scopes = {'mine': {'description': 'x'}}\n", "Invalid scope name: 'mine'."),
    ],
)
def test_a_role_that_jupyterhub_refuses_when_it_starts_is_reported(text: str, says: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("roles: ") and says in problem


NAMES = ["user", "admin", "server", "token", "self", "stats", "access-stats", "group-stat", "group-stats-server", "a"]
NAMES += ["a-", "metrics-service", "stats-access", "service-stats", "group-stat-server"]


@pytest.mark.parametrize("sharing", [False, True])
def test_names_of_services_and_groups_give_nobody_else_rights(sharing: bool) -> None:
    """Whatever the inventory calls them, as JupyterHub makes their roles when it starts."""
    scopes = ["admin:servers", "list:users"]
    own = [service(name, *scopes, access=["stat"]) for name in NAMES] + [service("open", access="everybody")]
    servers = {"stat": "group-stat", "stats": "group-stats", "user": "group-user"}
    more = {"services": own, "group_servers": servers, "backups": True, "sharing": sharing}
    assert problems(**more) == []
    secrets = {**SECRETS, **{f"services/{each['name']}": "x" for each in own}}
    hub, database = started(config.traits(given(**more), secrets, STATE), [each["name"] for each in own])
    rights = {role["name"]: role["scopes"] for role in roles.get_default_roles()}
    for name in ("admin", "server", "token"):
        assert orm.Role.find(database, name).scopes == rights[name]
    everybody = ["access:services!service=backups", "access:services!service=open"]
    more_rights = config.SHARING_SCOPES if sharing else []
    assert orm.Role.find(database, "user").scopes == ["self", *more_rights, *everybody]
    for name in NAMES:
        (role,) = orm.Service.find(database, name).roles
        assert role.scopes == scopes and not role.users and not role.groups
    assert len({role["name"] for role in hub.load_roles}) == len(hub.load_roles)
    database.close()


def test_a_service_has_one_role_after_an_upgrade() -> None:
    """The last release gave roles other names. JupyterHub deletes roles that are not in its configuration any more."""
    settings = config.traits(given(services=[service("stats", "list:users", access=["stat"])]), SECRETS, STATE)
    before = copy.deepcopy(settings)
    for role in before["JupyterHub"]["load_roles"]:
        name, _dash, kind = role["name"].rpartition("-")
        role["name"] = name if kind == "service" else f"access-{name}"
    _hub, database = started(before, ["stats"])
    assert [role.name for role in orm.Service.find(database, "stats").roles] == ["stats"]
    started(settings, ["stats"], database)
    assert [role.name for role in orm.Service.find(database, "stats").roles] == ["stats-service"]
    assert [role.name for role in orm.Group.find(database, "stat").roles] == ["stats-access"]
    assert not {"stats", "access-stats", "metrics"} & {role.name for role in database.query(orm.Role)}
    database.close()


def started(settings: dict[str, Any], services: list[str], database: Any = None) -> tuple[JupyterHub, Any]:
    """Make roles, and say whose they are, as JupyterHub does when it starts."""
    hub = JupyterHub(load_roles=settings["JupyterHub"]["load_roles"])
    hub.authenticator = Authenticator()
    hub.db = database or orm.new_session_factory("sqlite://")()
    for name in [*services, *(each["name"] for each in settings["JupyterHub"]["services"])]:
        if orm.Service.find(hub.db, name) is None:
            hub.db.add(orm.Service(name=name))
            hub.db.commit()
    asyncio.run(hub.init_role_creation())
    asyncio.run(hub.init_role_assignment())
    return hub, hub.db


def test_no_service_can_be_called_as_one_of_the_role_s() -> None:
    services = config.traits(given(backups=True), SECRETS, STATE)["JupyterHub"]["services"]
    ours = {config.BACKUPS, config.CULLER, config.METRICS, config.PROXY, config.RESET, config.ROSTER}
    assert ours == {service["name"] for service in services} - {each["name"] for each in given()["services"]}
    assert ours == set(hub_own._OUR_SERVICES)


def test_the_program_reads_stdin_and_needs_no_secret(tmp_path: Path) -> None:
    def run(text: str) -> subprocess.CompletedProcess[str]:
        content = given(authenticator=NATIVE, extra_config=[{"name": "own.py", "text": text}])
        return subprocess.run(
            [sys.executable, "-m", "carrel_hub.check"], input=json.dumps(content), text=True, capture_output=True,
            check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CARREL_HUB_STATE": str(tmp_path)},
        )  # fmt: skip

    assert run("c.JupyterHub.log_level = 10\n").returncode == 0
    bad = run("print('hello')\nc.JupyterHub.log_levl = 1\n")
    assert bad.returncode == 1
    assert bad.stdout == "own.py, line 2: JupyterHub has no trait log_levl; did you mean log_level?\n"


def test_the_hub_starts_with_what_the_files_set_and_never_with_a_bad_one() -> None:
    def configured(text: str) -> configuration.Whole:
        content = given(authenticator=NATIVE, extra_config=[{"name": "own.py", "text": text}])
        return configuration.configure(content, SECRETS, STATE, Config())

    good = configured("c.JupyterHub.log_level = 10\nc.JupyterHub.services.append({'name': 'mine'})\n")
    assert not good.problems and good.config.JupyterHub.log_level == 10
    assert [service["name"] for service in good.config.JupyterHub.services][-1] == "mine"
    assert configured("c.JupyterHub.services.clear()\n").problems
