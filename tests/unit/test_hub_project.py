# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.lookup.folder_digest import digest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub, hub_images

ROOT = Path(__file__).resolve().parents[2]
ENGINE = {
    "uid": 1001, "gid": 1002, "controllers": ["pids", "cpu", "memory"], "socket": "/run/user/1001/docker.sock",
    "subuid": {"start": 200000, "count": 65536}, "subgid": {"start": 300000, "count": 65536},
}  # fmt: skip
THEMES = "@jupyterlab/apputils-extension:themes"
JUPYTERLAB = {
    "settings": "/opt/share/jupyter/lab/settings",
    "overrides": {THEMES: {"theme": "JupyterLab Light", "theme-scrollbars": True}},
    "plugins": {THEMES: ["theme", "theme-scrollbars"], "@jupyterlab/lsp-extension:plugin": None},
}
IMAGE = {
    "uid": 1000, "gid": 100, "singleuser": True, "jupyterlab": JUPYTERLAB,
    "servers": [{"jupyterhub": f"{hub_images.JUPYTERHUB}.0.1", "collaboration": True}], "python": "/opt/bin/python3",
}  # fmt: skip
NO_LIMITS = {"memory": None, "swap": None, "cpus": None, "pids": None}


def user(name: str, **changes: Any) -> dict[str, Any]:
    person = {"name": name, "identity": f"{name}@uni", "admin": False, "password": None, "server_of": None}
    return {**person, **NO_LIMITS, **changes}


def instance(**changes: Any) -> dict[str, Any]:
    return {
        "name": "class101", "state": "present", "engine": "class101", "directory": "/srv/class101",
        "url": "https://example.org/hub/", "base_url": "/hub/", "port": 8802,
        "images": [{"title": "Default", "image": "lab:1"}], "command": ["jupyterhub-singleuser"], "owner": None,
        "sudo": None,
        "home": "/home/jovyan/work", "persist": {"settings": "/home/jovyan/.jupyter/lab"}, "backend": "directories",
        "environment": {}, "authenticator": {"type": "native", "signup": False}, "normalize_usernames": False,
        "users": [user("ada", password="lovelace"), user("prof", admin=True)], "blocked_users": ["mallory"],
        "groups": [{"name": "statistics", "members": ["ada"], "admins": ["prof"], "mounts": None}],
        "limits": dict(NO_LIMITS), "devices": [], "gpu_devices": [],
        "culler": {"idle_seconds": 3600, "max_age_seconds": 0, "every_seconds": 300},
        "shutdown_on_logout": False, "default_url": "/lab", "concurrent_spawns": 20, "active_servers": 0,
        "spawn_timeout_seconds": 60, "http_timeout_seconds": 60, "database": {"type": "sqlite", "image": None},
        "settings": {}, "extra_config": [], "extra_packages": [], "services": [], "provider_groups": {},
        "backups": False, "user_domains": False, "sharing": False, "egress": None, "group_egress": {},
        "login": {"notice": None, "notice_html": None, "template": None},
        "start_timeout_seconds": 120, "server_settings": {}, "own": [], "targets": [], "shared": True, "colab": True,
        "users_view": "ro", "prune": "keep", "delete_after_days": None, "allow_no_users": False, "client_secret": None,
        "dummy_password": None, "authenticator_secrets": {}, **changes,
    }  # fmt: skip


def project(engine: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return hub.project(instance(**changes), {**ENGINE, **(engine or {})}, [IMAGE], "carrel/hub:abc")


def services(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = project(**changes)["compose"]["services"]
    return found


def config(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project(**changes)["config"])
    return found


def problems(images: list[dict[str, Any]], **changes: Any) -> list[str]:
    names = [{"title": f"I{number}", "image": f"lab:{number}"} for number in range(1, len(images) + 1)]
    return hub_images.problems(instance(images=names, **changes), images)


def image(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(IMAGE), **changes}


POSTGRESQL = {"type": "postgresql", "image": "postgres:17"}


def test_the_architecture_lists_the_keys_of_config_json() -> None:
    text = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    block = re.search(r"`config.json`.*?```yaml\n(.*?)```", text, re.DOTALL)
    assert block
    assert set(config()) == set(re.findall(r"^(\w+):", block[1], re.MULTILINE))


def test_the_data_belongs_to_the_images_ids_or_the_declared() -> None:
    assert (project()["uid"], project()["gid"]) == (1000, 100)
    assert (project(owner="0:5")["uid"], project(owner="0:5")["gid"]) == (0, 5)


def test_what_the_account_can_write_lies_below_what_is_roots() -> None:
    directories = {entry["path"]: entry for entry in project(database=POSTGRESQL)["directories"]}
    account = {path for path, entry in directories.items() if entry.get("owner", 0) != 0}
    assert account == {"/srv/class101/data/hub", "/srv/class101/data/database"}
    assert directories["/srv/class101/hub"] == {"path": "/srv/class101/hub", "group": 1002, "mode": "0750"}
    assert directories["/srv/class101/data/hub"]["mode"] == "0700"


def test_only_the_proxy_has_a_port_and_only_on_the_loopback() -> None:
    found = services(database=POSTGRESQL)
    assert {name: service.get("ports") for name, service in found.items()} == {
        "hub": None, "database": None, "proxy": ["127.0.0.1:8802:8000"],
    }  # fmt: skip


def test_users_containers_cannot_reach_the_database() -> None:
    decided = project(database=POSTGRESQL)
    compose = decided["compose"]
    assert compose["networks"]["private"] == {"name": "class101_private", "internal": True}
    assert compose["services"]["database"]["networks"] == ["private"]
    assert json.loads(decided["config"])["network"] == compose["networks"]["users"]["name"] == "class101_users"


def test_only_the_hub_has_the_engines_socket() -> None:
    sockets = {
        name: [mount["source"] for mount in service.get("volumes", []) if "docker.sock" in mount["source"]]
        for name, service in services(database=POSTGRESQL).items()
    }
    assert sockets == {"hub": ["/run/user/1001/docker.sock"], "proxy": [], "database": []}


def test_every_mount_is_a_bind_that_fails_on_a_missing_source() -> None:
    mounts = [mount for service in services(database=POSTGRESQL).values() for mount in service.get("volumes", [])]
    assert len(mounts) == 5
    assert all(mount["type"] == "bind" and not mount["bind"]["create_host_path"] for mount in mounts)


def test_nothing_is_pulled_at_the_start_and_all_comes_back_after_a_boot() -> None:
    for service in services(database=POSTGRESQL).values():
        assert (service["pull_policy"], service["restart"]) == ("never", "unless-stopped")


def test_sqlite_needs_no_server() -> None:
    assert set(services()) == {"hub", "proxy"}
    assert config()["database"] == {"type": "sqlite"}


def test_the_databases_password_is_in_a_file() -> None:
    database = services(database=POSTGRESQL)["database"]
    assert not any(name.endswith("PASSWORD") for name in database["environment"])
    assert ("/srv/class101/database-password", database["environment"]["POSTGRES_PASSWORD_FILE"]) in [
        (mount["source"], mount["target"]) for mount in database["volumes"]
    ]


@pytest.mark.parametrize(
    ("changes", "recreates"),
    [
        ({"users": [user("grace", password="hopper")], "blocked_users": []}, False),
        ({"environment": {"A": "1"}}, True),
        ({"limits": {**NO_LIMITS, "memory": 2**30}}, True),
        ({"login": {"notice": "Hello", "notice_html": None, "template": None}}, True),
        ({"login": {"notice": None, "notice_html": None, "template": "<form>"}}, False),
    ],
)
def test_what_recreates_the_hub_and_nothing_else(changes: dict[str, Any], recreates: bool) -> None:
    before, after = (hub.labelled(decided, "secrets") for decided in (project(), project(**changes)))
    assert (before["services"]["hub"] != after["services"]["hub"]) is recreates
    assert before["services"]["proxy"] == after["services"]["proxy"]


def test_new_secrets_recreate_the_hub() -> None:
    assert hub.labelled(project(), "one") != hub.labelled(project(), "two")


def test_a_dollar_in_the_project_is_doubled() -> None:
    assert services(database={"type": "postgresql", "image": "a$b"})["database"]["image"] == "a$$b"


def test_the_roster_has_users_and_no_passwords() -> None:
    decided = project(users=[user("ada", password="lovelace", memory=2**30), user("prof", admin=True)])
    assert json.loads(decided["roster"]) == {
        "version": 1,
        "users": {
            "ada": {"identity": "ada@uni", "admin": False, **NO_LIMITS, "memory": 2**30},
            "prof": {"identity": "prof@uni", "admin": True, **NO_LIMITS},
        },
        "blocked": ["mallory"],
        "groups": {"statistics": ["ada", "prof"]},
        "provider_groups": {},
    }
    assert decided["passwords"] == {"ada": "lovelace"}


def test_what_the_administrator_adds_reaches_the_hub_and_is_checked_before() -> None:
    plain = {"authenticator": {"type": "native", "signup": False}}
    assert not hub.has_own_parts(instance(**plain))
    files = [{"name": "exam.py", "text": "c.JupyterHub.log_level = 10\n"}]
    names = {"statistics": ["cn=b", "cn=a"], "geo": ["cn=a"]}
    decided = project(extra_config=files, provider_groups=names)
    assert json.loads(decided["config"])["extra_config"] == files
    assert json.loads(decided["config"])["provider_groups"] == ["cn=a", "cn=b"]
    assert json.loads(decided["roster"])["provider_groups"] == names
    for more in (
        {"extra_config": files}, {"services": [{"name": "a"}]}, {"authenticator": {"type": "custom", "class": "a.B"}},
        {"authenticator": {"type": "ldap", "settings": {"lookup_dn": True}}},
        {"authenticator": {"type": "ldap", "secret_settings": ["a"]}},
    ):  # fmt: skip
        assert hub.has_own_parts(instance(**{**plain, **more}))


def test_unenforceable_limits_are_reported_once() -> None:
    engine = {"controllers": ["memory"]}
    assert project(engine, users=[user("ada", cpus=1.5), user("bob", cpus=2.0, memory=1)])["unenforceable"] == ["cpus"]
    assert project(engine, limits={**NO_LIMITS, "pids": 10})["unenforceable"] == ["pids"]
    assert project(engine)["unenforceable"] == []


def test_directories_of_the_users_own_are_bound_by_the_mounts_file() -> None:
    decided = project()
    assert decided["user_directories"] == [{"name": "home", "mode": "0700"}, {"name": "settings", "mode": "0700"}]
    assert decided["user_mounts"] == [
        {"name": "home", "target": "/home/jovyan/work"}, {"name": "settings", "target": "/home/jovyan/.jupyter/lab"},
    ]  # fmt: skip
    assert config()["volumes"] == []


def test_named_volumes_are_in_the_configuration_instead() -> None:
    assert project(backend="volumes")["user_mounts"] == []
    assert config(backend="volumes")["volumes"] == [
        {"name": "home", "target": "/home/jovyan/work"}, {"name": "settings", "target": "/home/jovyan/.jupyter/lab"},
    ]  # fmt: skip


def test_settings_are_put_over_the_images_own() -> None:
    decided = project(settings={THEMES: {"theme": "JupyterLab Dark"}, "@jupyterlab/lsp-extension:plugin": {"x": 1}})
    (overrides,) = (file for file in decided["files"] if file["path"].endswith("overrides.json"))
    assert json.loads(overrides["content"]) == {
        THEMES: {"theme": "JupyterLab Dark", "theme-scrollbars": True}, "@jupyterlab/lsp-extension:plugin": {"x": 1},
    }  # fmt: skip
    assert json.loads(decided["config"])["mounts"][1:] == [
        {"source": overrides["path"], "target": "/opt/share/jupyter/lab/settings/overrides.json", "read_only": True}
    ]


def test_without_settings_nothing_is_mounted_and_the_file_goes() -> None:
    assert [mount["source"] for mount in config()["mounts"]] == ["/srv/class101/hub/jupyter_config.py"]
    assert "/srv/class101/hub/overrides.json" in project()["absent"]


def test_a_notice_is_text_unless_declared_as_html() -> None:
    login = {"notice": None, "notice_html": None, "template": None}
    assert config(login={**login, "notice": "<b>"})["notice_html"] == "<p>&lt;b&gt;</p>"
    assert config(login={**login, "notice_html": "<b>"})["notice_html"] == "<b>"
    assert config()["notice_html"] is None


@pytest.mark.parametrize(("kind", "page"), [("native", "native-login.html"), ("github", "login.html")])
def test_a_custom_page_replaces_that_of_the_authenticator(kind: str, page: str) -> None:
    login = {"notice": None, "notice_html": None, "template": "text"}
    decided = project(authenticator={"type": kind}, login=login)
    pages = {file["path"]: file["content"] for file in decided["files"] if "/templates/" in file["path"]}
    assert pages == {f"/srv/class101/hub/templates/{page}": "text"}
    (gone,) = (path for path in decided["absent"] if "/templates/" in path)
    assert gone not in pages


@pytest.mark.parametrize("environment", [{"A": "secret"}, {}])
def test_an_environment_stays_out_of_the_diff(environment: dict[str, str]) -> None:
    """Also when it is taken out: the diff would show the file with it."""
    decided = project(environment=environment)
    (file,) = (file for file in decided["files"] if file["path"].endswith("config.json"))
    assert json.loads(decided["secret_contents"][file["path"]])["environment"] == environment and "content" not in file


def test_the_proxy_asks_for_the_name_where_users_have_domains() -> None:
    commands = [project(user_domains=domains)["compose"]["services"]["proxy"]["command"] for domains in (False, True)]
    assert commands == [["proxy"], ["proxy", "--host-routing"]]


def test_the_proxy_takes_headers_as_long_as_the_servers_do() -> None:
    assert project()["compose"]["services"]["proxy"]["environment"]["NODE_OPTIONS"] == "--max-http-header-size=65536"


def test_the_record_has_no_secret_and_the_database_that_is_there() -> None:
    assert json.loads(hub.hub_record(instance(client_secret="secret"), "postgresql")) == {
        "collection": VERSION,
        "kind": "hub", "name": "class101", "engine": "class101", "directory": "/srv/class101", "port": 8802,
        "state": "present", "url": "https://example.org/hub/", "own": [], "database": "postgresql",
        "backend": "directories",
    }  # fmt: skip


def test_images_that_fit() -> None:
    assert problems([image(), image()], settings={THEMES: {"theme": "x"}}) == []


def test_the_images_of_a_hub_run_as_one_id_unless_owner_is_given() -> None:
    (problem,) = problems([image(), image(uid=0, gid=0)])
    assert "lab:1 as 1000:100, lab:2 as 0:0" in problem
    assert problems([image(), image(uid=0, gid=0)], owner="1000:100") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"servers": [{"jupyterhub": None}]}, r"lab:1 has no jupyterhub .*; install it there: pip install"),
        ({"servers": [{"jupyterhub": "4.1.6"}]}, r"lab:1 has jupyterhub 4.1.6, and the hub is of version 6; .*pip"),
        ({"singleuser": False}, "no jupyterhub-singleuser on its PATH: add that environment"),
    ],
)  # fmt: skip
def test_an_image_that_no_hub_can_start(changes: dict[str, Any], message: str) -> None:
    (problem,) = problems([image(**changes)])
    assert re.search(message, problem)


def test_a_command_by_its_path_needs_nothing_on_the_path() -> None:
    assert problems([image(singleuser=False)], command=["/opt/env/bin/jupyterhub-singleuser"]) == []


def test_members_who_share_a_server_need_an_image_in_which_they_can_work_together() -> None:
    lacking = image(servers=[{"jupyterhub": "6.0.1", "collaboration": False}])
    names = [{"title": f"I{number}", "image": f"lab:{number}"} for number in (1, 2)]
    people = [user("ada"), *(user(f"group-g{number}", server_of=f"g{number}") for number in range(7))]
    (warning,) = hub_images.warnings(instance(images=names, users=people), [image(), lacking])
    assert "class101: in the server of the groups g0, g1, g2, g3, g4 and 2 more, " in warning
    assert "the image lab:2 has no jupyter-collaboration: install it for /opt/bin/python3; " in warning
    assert "of the group g0, " in hub_images.warnings(instance(images=names, users=people[:2]), [image(), lacking])[0]
    assert hub_images.warnings(instance(images=names, users=people), [image(), image()]) == []
    assert hub_images.warnings(instance(images=names), [lacking, lacking]) == []


def test_the_lab_image_has_what_the_warning_names() -> None:
    folder = ROOT / "images" / "lab"
    default = re.search(r'ARG SERVER_PACKAGES="(.*)"', (folder / "Dockerfile").read_text())
    assert default and f"{default[1]} jupyter-collaboration" == hub_images.LAB_PACKAGES
    assert "\njupyter-collaboration\n" in (folder / "server.in").read_text()


def test_the_version_is_that_of_the_hubs_image() -> None:
    requirements = (ROOT / "roles" / "hub" / "files" / "image" / "requirements.txt").read_text()
    assert f"\njupyterhub=={hub_images.JUPYTERHUB}." in requirements


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"@jupyterlab/apputils-extension:theme": {"theme": "x"}}, f"no plugin .*did you mean '{THEMES}'"),
        ({THEMES: {"themes": "x"}}, "no setting 'themes': did you mean 'theme'"),
        ({"@jupyterlab/lsp-extension:plugin": {"anything": 1}}, None),
    ],
)
def test_settings_that_no_plugin_knows(settings: dict[str, Any], message: str | None) -> None:
    found = problems([image()], settings=settings)
    assert not found if message is None else re.search(message, found[0])


@pytest.mark.parametrize(("key", "value"), [("settings", "/elsewhere"), ("overrides", {})])
def test_settings_for_images_that_keep_them_differently(key: str, value: Any) -> None:
    other = image(jupyterlab={**JUPYTERLAB, key: value})
    assert "lab:1 and lab:2" in problems([image(), other], settings={THEMES: {"theme": "x"}})[0]


def test_running_the_hubs_program_on_the_control_node_does_not_make_another_image_of_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1")
    before = digest(tmp_path, "")
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (cache / "program.cpython-311.pyc").write_text("compiled")
    assert digest(tmp_path, "") == before
    (tmp_path / "program.py").write_text("2")
    assert digest(tmp_path, "") != before


def test_a_users_container_has_the_privileges_that_it_needs() -> None:
    tight = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    assert config()["host_config"] == tight
    assert config(sudo=True)["host_config"] == {"cap_drop": ["NET_RAW"]}


def test_a_hubs_services_have_no_privileges_and_limits() -> None:
    postgresql = {"type": "postgresql", "image": "postgres:17"}
    services = hub.compose(instance(database=postgresql), ENGINE, "hub:1")["services"]
    assert set(services) == {"hub", "proxy", "database"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] == 4096 and service["ulimits"] == {"core": {"soft": 0, "hard": 0}}
        assert bool(service.get("cap_add")) == (name == "database")
    poor = {**ENGINE, "controllers": []}
    assert all("pids_limit" not in service for service in hub.compose(instance(), poor, "hub:1")["services"].values())


def test_held_users_keep_their_folders_and_cannot_log_in() -> None:
    decided = project(users=[user("ada")], held_users=[{"name": "bob", "identity": "bob@uni"}], blocked_users=["bob"])
    assert decided["users"] == [
        {"name": "ada", "identity": "ada@uni", "state": "present", "disk": None},
        {"name": "bob", "identity": "bob@uni", "state": "held", "disk": None},
    ]
    roster = json.loads(decided["roster"])
    assert list(roster["users"]) == ["ada"] and roster["blocked"] == ["bob"]
    assert [member["name"] for member in decided["members"]] == ["ada"] and decided["passwords"] == {}


def test_the_hub_knows_to_whom_servers_of_groups_belong() -> None:
    decided = project(users=[user("ada"), user("group-stat", server_of="stat")])
    users = json.loads(decided["roster"])["users"]
    assert users["group-stat"]["server_of"] == "stat" and "server_of" not in users["ada"]
    assert json.loads(decided["config"])["group_servers"] == {"stat": "group-stat"}
