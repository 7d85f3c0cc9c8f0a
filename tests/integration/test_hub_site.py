# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub with native users on the outer engine, which enforces limits (cgroup v1), below a sub-path."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import hub_image
import pytest
import requests
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub import SERVER_SETTINGS
from hub_site import HOME, HubSite, person
from module_runner import open_to_all

from testbed import images as testbed_images
from testbed.client import Kernel, Lab, LoginError
from testbed.hub_client import Hub, SpawnError
from testbed.patience import PATIENCE, until
from testbed.run import run

MEMORY = 600 * 2**20
MINUTE = 60


@pytest.fixture(scope="module")
def images() -> tuple[str, str]:
    return hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]


@pytest.fixture(scope="module")
def site(images: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    folder = open_to_all(tmp_path_factory.mktemp("hub"))
    site = HubSite(
        folder, f"carrel-test-{os.getpid()}", images, base_url="/class/", notice_html="Restarts <b>daily</b>",
        mounts=[
            {"source": str(folder / "settings.json"), "target": "/home/jovyan/settings.json", "read_only": True},
            {"source": str(folder / "server.json"), "target": SERVER_SETTINGS[1], "read_only": True},
        ],
        volumes=[{"name": "cache", "target": "/home/jovyan/.cache"}],
        environment={"COURSE": "{statistics}", "JUPYTER_CONFIG_PATH": str(Path(SERVER_SETTINGS[1]).parent)},
    )  # fmt: skip
    server = folder / "server.json"
    server.write_text(json.dumps({"ContentsManager": {"untitled_notebook": "Ours"}}))
    server.chmod(0o644)
    settings = folder / "settings.json"
    settings.write_text("{}")
    settings.chmod(0o666)
    site.people = {
        "ada": person("ada", memory=MEMORY, swap=0, cpus=0.5, pids=200),
        "grace.hopper": person("grace.hopper"),
        "prof": person("prof", admin=True),
    }
    site.passwords = {name: f"first-{name}" for name in site.people}
    group = folder / "group"
    group.mkdir()
    os.chown(group, 1000, 100)
    site.mounts["groups"] = {"statistics": {"members": ["ada"], "admins": [], "mounts": [
        {"source": str(group), "target": f"{HOME}/statistics", "members": "ro", "admins": "rw"}]}}  # fmt: skip
    try:
        site.up()
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def server(site: HubSite) -> Iterator[tuple[Hub, Lab, str]]:
    with site.session().login("ada", "first-ada") as session, session.spawn() as lab:
        yield session, lab, lab.kernel().identifier


@pytest.fixture
def ada(server: tuple[Hub, Lab, str]) -> tuple[Hub, Kernel]:
    """Always the same kernel, through a new websocket: some tests replace the proxy."""
    session, lab, kernel = server
    return session, lab.connect(kernel)


@pytest.fixture
def grace(site: HubSite) -> Iterator[Hub]:
    def entered() -> Hub | None:
        with contextlib.suppress(LoginError):
            return site.session().login("grace.hopper", site.passwords["grace.hopper"])
        return None

    # The hub may be at work on her removal, after which she was listed again.
    with until(entered, "grace.hopper logs in") as session:
        yield session
        with contextlib.suppress(requests.HTTPError):
            session.stop()


def shell(kernel: Kernel, command: str) -> str:
    return kernel.run(f"import subprocess\nprint(subprocess.getoutput({command!r}))").strip()


def test_the_login_page_has_the_notice_and_other_pages_have_not(site: HubSite, ada: tuple[Hub, Kernel]) -> None:
    assert "Restarts <b>daily</b>" in requests.get(f"{site.url}hub/login", timeout=PATIENCE).text
    home = ada[0].request("GET", "home").text
    assert "change-password" in home and "Restarts" not in home


def test_a_server_has_its_mounts_volume_labels_and_environment(site: HubSite, ada: tuple[Hub, Kernel]) -> None:
    kernel = ada[1]
    assert shell(kernel, "touch ~/work/mine && stat -c %u:%g ~/work/mine") == "1000:100"
    assert "Read-only" in shell(kernel, "touch ~/work/statistics/x")
    assert "Read-only" in shell(kernel, "touch ~/settings.json")
    assert shell(kernel, "echo $COURSE") == "{statistics}"
    run("docker", "volume", "inspect", f"{site.name}_ada_cache")
    labels = run("docker", "inspect", "--format", "{{json .Config.Labels}}", site.container("ada"))
    assert f'"carrel.instance":"{site.name}"' in labels and '"carrel.user":"ada"' in labels
    status = dict(
        line.split(":\t") for line in shell(kernel, "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status").split("\n")
    )
    assert int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert shell(kernel, "ulimit -c; ulimit -Hc").split() == ["0", "0"]


def test_server_settings_count_in_users_servers(server: tuple[Hub, Lab, str]) -> None:
    assert server[1].request("POST", "api/contents", json={"type": "notebook"}).json()["name"] == "Ours.ipynb"


def test_limits_hold_and_only_the_greedy_program_dies(ada: tuple[Hub, Kernel]) -> None:
    kernel = ada[1]
    assert shell(kernel, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes") == str(MEMORY)
    assert shell(kernel, "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us") == "50000"
    assert shell(kernel, "cat /sys/fs/cgroup/pids/pids.max") == "200"
    assert "Killed" in shell(kernel, "python3 -c 'x = b\"x\" * (900 * 2**20)' ; echo")
    assert kernel.run("print(6 * 7)").strip() == "42"


def test_others_have_no_limit_and_memberships_count_from_the_next_start(site: HubSite, grace: Hub) -> None:
    with grace.spawn() as lab:
        assert int(shell(lab.kernel(), "cat /sys/fs/cgroup/memory/memory.limit_in_bytes")) > 2**40
        assert "cannot access" in shell(lab.kernel(), "ls ~/work/statistics")
    site.mounts["groups"]["statistics"]["admins"] = ["grace.hopper"]
    site.people["grace.hopper"]["memory"] = MEMORY
    site.write()
    grace.stop()
    with grace.spawn() as lab:
        kernel = lab.kernel()
        assert shell(kernel, "touch ~/work/statistics/hers && ls ~/work/statistics") == "hers"
        assert shell(kernel, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes") == str(MEMORY)


def test_a_server_can_be_started_right_after_a_stop(grace: Hub) -> None:
    """Docker removes the last one by itself, which takes it some time here, and its name is not free until then."""
    with grace.spawn() as lab:
        shell(lab.kernel(), "mkdir /tmp/many && cd /tmp/many && seq 100000 | xargs touch")
    grace.stop()
    grace.spawn()


def test_a_failed_start_shows_the_reason_without_paths_of_the_host(site: HubSite, grace: Hub) -> None:
    home = site.folder / "users" / "grace-2ehopper" / "home"
    away = home.with_name("away")
    home.rename(away)
    with pytest.raises(SpawnError, match="One of your directories is missing") as refused:
        grace.spawn()
    assert str(site.folder) not in str(refused.value) and str(home) in site.log()
    away.rename(home)
    mounts = site.folder / "hub" / "mounts.json"
    mounts.write_text("{")
    with pytest.raises(SpawnError, match="The list of your directories cannot be read"):
        grace.spawn()
    site.config["images"][0]["image"], image = "carrel.invalid/none:1", site.config["images"][0]["image"]
    site.write()
    with pytest.raises(SpawnError, match="The software that you chose is not installed"):
        grace.spawn()
    # has jupyterhub-singleuser, and no jupyter_server for it
    site.config["images"][0]["image"] = site.hub_image
    site.write()
    with pytest.raises(SpawnError, match="ended while it was starting"):
        grace.spawn()
    site.config["images"][0]["image"] = image
    site.write()
    with grace.spawn() as lab:
        assert lab.run("print(1)").strip() == "1"


def test_admins_come_and_go_with_the_roster(site: HubSite, grace: Hub, ada: tuple[Hub, Kernel]) -> None:
    def may_list() -> bool:
        return grace.request("GET", "api/users", check=False).status_code == 200

    assert not may_list()
    site.people["grace.hopper"]["admin"] = True
    site.write()
    until(may_list, "an admin lists the users")
    assert grace.users() == ["ada", "grace.hopper", "prof"]
    others = grace.lab("ada")
    site.people["grace.hopper"]["admin"] = False
    site.write()
    until(lambda: not may_list(), "who is no admin any more lists nobody")
    path = "api/status"
    until(
        lambda: others.request("GET", path, check=False, allow_redirects=False).status_code in (302, 403),
        "the other's server is closed",
    )


def test_groups_and_people_are_as_in_the_inventory(site: HubSite, grace: Hub) -> None:
    with site.session().login("prof", "first-prof") as prof:

        def members() -> dict[str, set[str]]:
            groups = prof.request("GET", "api/groups").json()
            return {group["name"]: set(group["users"]) for group in groups}

        groups = site.mounts["groups"]
        before = groups["statistics"]
        groups["statistics"] = {**before, "members": ["ada"], "admins": ["grace.hopper"]}
        site.write()
        until(lambda: members() == {"statistics": {"ada", "grace.hopper"}}, "there is a group")
        assert "statistics" in prof.request("GET", "api/users/ada").json()["groups"]
        assert "The inventory decides" in prof.request("GET", "admin").text
        for method, path, body in (
            ("POST", "users", {"usernames": ["eve"]}),
            ("POST", "users/eve", None),
            ("DELETE", "users/ada", None),
            ("PATCH", "users/ada", {"admin": True}),
            ("POST", "groups", {"groups": ["mine"]}),
            ("POST", "groups/mine", {"users": []}),
            ("DELETE", "groups/statistics", None),
            ("POST", "groups/statistics/users", {"users": ["prof"]}),
            ("DELETE", "groups/statistics/users", {"users": ["ada"]}),
        ):
            refused = prof.request(method, f"api/{path}", json=body, check=False)
            assert refused.status_code == 403 and "The inventory decides" in refused.json()["message"], path
        groups["more"] = {"members": ["prof"], "admins": [], "mounts": []}
        groups["statistics"]["members"] = []
        site.write()
        until(lambda: members() == {"statistics": {"grace.hopper"}, "more": {"prof"}}, "groups change")
        del groups["more"]
        groups["statistics"] = before
        site.write()
        until(lambda: members().keys() == {"statistics"}, "a group goes")


def test_programs_need_a_token_and_nothing_else(site: HubSite, grace: Hub) -> None:
    """As docs/howto/programs.md has it."""
    token = grace.request("POST", "api/users/grace.hopper/tokens", json={}).json()["token"]
    with requests.Session() as program:
        program.headers["Authorization"] = f"token {token}"
        asked = program.post(f"{site.url}hub/api/users/grace.hopper/server", timeout=PATIENCE)
        assert asked.status_code in (201, 202)
        server = f"{site.url}user/grace.hopper/api"
        until(lambda: program.get(f"{server}/status", timeout=PATIENCE).status_code == 200, "the server answers")
        assert program.post(f"{server}/kernels", json={}, timeout=PATIENCE).status_code == 201
        assert program.get(f"{site.url}user/ada/api/status", timeout=PATIENCE).status_code in (403, 404, 424)
    in_url = requests.get(f"{server}/status", params={"token": token}, timeout=PATIENCE)
    assert in_url.status_code == 403, "users' servers take it in a header alone"


@pytest.mark.parametrize("way", ["removed", "blocked"])
def test_people_removed_from_the_roster_lose_sessions_tokens_and_server(site: HubSite, way: str) -> None:
    name = "grace.hopper"
    with site.session().login(name, site.passwords[name]) as session, session.spawn() as lab:
        token = session.request("POST", f"api/users/{name}/tokens", json={}).json()["token"]
        headers = {"Authorization": f"token {token}"}
        assert requests.get(f"{site.url}hub/api/user", headers=headers, timeout=PATIENCE).status_code == 200
        one, deleted = site.people[name], site.log().count(f"roster: {name} is not listed any more and was deleted")
        if way == "removed":
            del site.people[name]
        else:
            site.blocked = [name]
        site.write()
        until(lambda: session.request("GET", "api/user", check=False).status_code == 403, "the session ends")
        until(
            lambda: requests.get(f"{site.url}hub/api/user", headers=headers, timeout=PATIENCE).status_code == 403,
            "the token ends",
        )
        until(lambda: not site.runs(name), "the server ends")
        # Until the hub has deleted the account, its session would count again.
        until(lambda: site.log().count(f"roster: {name} is not listed any more and was deleted") > deleted, "so is she")
        assert lab.request("GET", "api/status", check=False, allow_redirects=False).status_code in (302, 403, 424, 503)
        with pytest.raises(LoginError):
            session.login(name, site.passwords[name])
        site.people[name], site.blocked = one, []
        site.write()
        session.login(name, site.passwords[name])


def health(site: HubSite) -> str:
    return site.in_hub("python3", "-m", "carrel_hub.healthcheck", check=False)


def test_metrics_and_health(site: HubSite) -> None:
    page = f"{site.url}hub/metrics"
    assert requests.get(page, timeout=PATIENCE).status_code == 403
    headers = {"Authorization": f"token {site.secrets['metrics_token']}"}
    assert "jupyterhub_running_servers" in requests.get(page, headers=headers, timeout=PATIENCE).text
    assert requests.get(f"{site.url}hub/api/users", headers=headers, timeout=PATIENCE).status_code == 403
    assert health(site) == "ok"


def test_the_proxy_keeps_an_idle_connection(site: HubSite) -> None:
    """Node.js itself ends it after five seconds, perhaps just when Apache uses it again."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        for pause in (7, 0):
            connection.request("GET", "/class/hub/health")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200 and connection.sock is not None, "it does not say that it closes"
            kept = connection.sock
            time.sleep(pause)
            assert connection.sock is kept
        kept.settimeout(0.1)
        with pytest.raises(TimeoutError):
            kept.recv(1)


def test_a_restart_of_the_hub_keeps_servers_and_their_variables(site: HubSite, ada: tuple[Hub, Kernel]) -> None:
    session, kernel = ada
    kernel.run("kept = 'still here'")
    site.replace_hub()
    assert kernel.run("print(kept)").strip() == "still here"
    assert session.user("ada")["servers"][""]["ready"]
    with session.lab() as lab:
        assert lab.run("print(2)").strip() == "2"


def test_a_proxy_that_starts_answers_once_it_has_its_routes(site: HubSite, server: tuple[Hub, Lab, str]) -> None:
    """Until then it says nothing, of which Apache makes a page, rather than that a server does not exist."""
    seen: list[int] = []

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            seen.append(server[1].request("GET", "api/status", check=False, allow_redirects=False).status_code)
        return bool(seen)

    run("docker", "restart", "--time", "2", f"{site.name}-proxy")
    until(answers, "the proxy answers")
    assert seen == [200]
    assert requests.get(f"{site.url}hub/health", timeout=PATIENCE).status_code == 200


def test_a_restart_of_a_minute_disturbs_nobody_and_removed_people_lose_access(
    site: HubSite, server: tuple[Hub, Lab, str], ada: tuple[Hub, Kernel]
) -> None:
    """An answer of the hub is asked for again after ten seconds."""
    at_work, kernel = server[1], ada[1]
    site.people["grace.hopper"]["admin"] = True
    site.write()
    with site.session().login("grace.hopper", site.passwords["grace.hopper"]) as grace, grace.spawn() as own:
        visiting = grace.lab("ada")
        run("docker", "stop", "--time", "2", f"{site.name}-hub")
        gone = site.people.pop("grace.hopper")
        site.write()
        end = time.monotonic() + MINUTE
        while time.monotonic() < end:
            for lab in (at_work, visiting, own):
                assert lab.request("GET", "api/status", allow_redirects=False).status_code == 200
            assert kernel.run("print(6 * 7)").strip() == "42"
            time.sleep(1)
        assert at_work.run("print(1)").strip() == "1", "a new kernel"
        run("docker", "start", f"{site.name}-hub")
        site.wait()
        assert at_work.request("GET", "api/status", allow_redirects=False).status_code == 200
        path = "api/status"
        until(
            lambda: visiting.request("GET", path, check=False, allow_redirects=False).status_code in (302, 403),
            "her visit ends",
        )
        until(lambda: not site.runs("grace.hopper"), "her server ends")
    site.people["grace.hopper"] = {**gone, "admin": False}
    site.write()


def test_images_to_choose_from_a_limit_of_servers_and_an_end_with_the_session(
    site: HubSite, ada: tuple[Hub, Kernel], grace: Hub
) -> None:
    before = dict(site.config)
    second = f"{site.name}/second:1"
    first = site.config["images"][0]
    run("docker", "tag", first["image"], second)
    try:
        site.config.update(
            images=[first, {"title": "Second", "image": second}], active_servers=2, shutdown_on_logout=True
        )
        site.replace_hub()
        assert "Second" in grace.request("GET", "spawn").text
        with pytest.raises(SpawnError):
            grace.spawn(image="Third")
        grace.spawn(image="Second")
        container = f"{site.name}_grace-2ehopper"
        assert run("docker", "inspect", "--format", "{{.Config.Image}}", container).strip() == second
        with site.session().login("prof", "first-prof") as prof, pytest.raises(SpawnError, match="limit"):
            prof.spawn()
        grace.logout()
        until(lambda: not site.runs("grace.hopper"), "her server ends")
    finally:
        site.config = before
        site.replace_hub()
        run("docker", "image", "rm", second)


def test_the_database_moves_to_postgresql_and_back(site: HubSite, ada: tuple[Hub, Kernel]) -> None:
    """The session, the password and the running server of today are there in each."""
    session, kernel = ada
    kernel.run("kept = 'still here'")
    server = f"{site.name}-database"
    image = testbed_images.build("postgres", parent=testbed_images.base())
    password = "p@ss/word%"
    state = site.folder / "state"
    before = site.config["database"]
    try:
        run(
            "docker", "run", "--detach", "--name", server, "--network", f"{site.name}_users",
            "--network-alias", "database", "--env", f"POSTGRES_PASSWORD={password}",
            "--env", "POSTGRES_USER=jupyterhub", image,
        )  # fmt: skip
        site.secrets["database_password"] = password
        postgresql = {"type": "postgresql", "host": "database", "name": "jupyterhub", "user": "jupyterhub"}
        for database, old in ((postgresql, "jupyterhub.sqlite"), (before, None)):
            (state / "switch.json").write_text(
                site.in_hub("sh", "-c", "python3 -m carrel_hub.database dump 2>/dev/null")
            )
            if old:
                (state / old).rename(state / f"{old}.before")
            site.config["database"] = database
            site.replace_hub()
            assert "rows over from the database" in site.log() and not (state / "switch.json").exists()
            assert session.user("ada")["servers"][""]["ready"]
            assert kernel.run("print(kept)").strip() == "still here"
            with site.session().login("grace.hopper", site.passwords["grace.hopper"]) as other:
                other.request("POST", "api/users/grace.hopper/tokens", json={})  # a row with an id of its own
            refused = site.in_hub("sh", "-c", "python3 -m carrel_hub.database load < switched.json", check=False)
            assert "is not empty" in refused
            if database is postgresql:
                run("docker", "stop", server)
                assert "the hub or its database does not answer" in health(site)
                assert kernel.run("print(kept)").strip() == "still here"
                run("docker", "start", server)
                until(lambda: health(site) == "ok", "the hub is healthy")
                run("docker", "stop", server)
                run("docker", "restart", f"{site.name}-hub")
                until(lambda: "waiting for the database" in site.log(), "the hub waits for its database")
                run("docker", "start", server)
                site.wait()
                assert session.user("ada")["servers"][""]["ready"]
    finally:
        run("docker", "rm", "--force", "--volumes", server, check=False)
