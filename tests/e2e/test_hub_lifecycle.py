# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a hub over time: restarts, people who come and go, databases, held and absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed.client import Lab, LoginError
from testbed.hub_client import Hub
from testbed.patience import PATIENCE
from testbed.secrets import SECRETS, Unsafe, environment

from .conftest import Play, Site, answers, enter, passwords, run_on, until, visit
from .untold import LOUD, untold

Instances = list[dict[str, Any]]
HOST = "carrel-test-3"


def groups_of(lab: Lab) -> list[str]:
    return lab.run("import os; print(*sorted(os.listdir('/home/jovyan/work/groups')))").split()


def health(hub: Site) -> str:
    """What the hub's own health check says."""
    return hub.docker("exec", "class-hub-1", "python3", "-m", "carrel_hub.healthcheck", "||", "true").strip()


def runs(hub: Site, user: str) -> bool:
    return f"class_{user}" in hub.docker("ps", "--format", "'{{.Names}}'").split()


@pytest.fixture
def ada(hub: Site) -> Iterator[Hub]:
    with visit(hub, "ada") as session:
        yield session


def test_a_restart_of_the_hub_stops_no_kernel(hub: Site, ada: Hub) -> None:
    with ada.spawn() as lab:
        kernel = lab.kernel()
        kernel.run("x = 41")
        hub.docker("restart", "class-hub-1")
        assert kernel.run("print(x + 1)").strip() == "42", "the websocket lived on, as the proxy does"
        until(lambda: answers(hub), "the hub is back")
        assert enter(hub, "ada").lab().run("print('new')").strip() == "new"


def test_a_starting_hub_gets_a_page_that_says_so(hub: Site) -> None:
    """Neither Apache's 502 nor what the proxy says while it can ask nobody."""
    hub.docker("stop", "class-hub-1")
    try:
        for page in ("hub/login", "hub/api/", "user/nobody/lab"):
            answer = requests.get(hub.url + page, verify=hub.ca, timeout=PATIENCE)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "This site is starting" in answer.text
    finally:
        hub.docker("start", "class-hub-1")
        until(lambda: answers(hub), "the hub is back")


def test_people_come_and_go_without_a_restart(play: Play, hub: Site) -> None:
    before = hub.started("class-hub-1")

    def change(instances: Instances) -> None:
        users, groups = instances[0]["users"], instances[0]["groups"]
        users[:] = [user for user in users if user["name"] != "grace"] + [{"name": "eva", "password": "eva's password"}]
        groups["statistics"] = {"members": ["ada", "eva"], "admins": ["prof"]}
        groups["geometry"] = {"members": ["ada"]}

    def without_image(instances: Instances) -> None:
        change(instances)
        instances[0].update(image="registry.carrel.test:5000/carrel/missing:9.9")

    grace = enter(hub, "grace")
    with grace.spawn() as lab:
        lab.put("kept.txt", "kept")
        assert play(HOST, without_image).code != 0, "and yet whoever left is out"
        until(lambda: grace.request("GET", "api/user", check=False).status_code == 403, "grace's session ends")
        until(lambda: not runs(hub, "grace"), "grace's server stops")
        assert lab.request("GET", "api/status", check=False, allow_redirects=False).status_code != 200
    with pytest.raises(LoginError):
        enter(hub, "grace")
    assert play(HOST, change).code == 0
    with Hub(hub.url, hub.ca).login("eva", "eva's password") as eva:
        with eva.spawn() as lab:
            assert groups_of(lab) == ["statistics"]
        eva.stop()
    with enter(hub, "ada") as ada:
        with ada.spawn() as lab:
            assert groups_of(lab) == ["geometry", "statistics"]
        ada.stop()
    assert hub.started("class-hub-1") == before
    assert play(HOST).code == 0
    assert hub.started("class-hub-1") == before
    with enter(hub, "grace") as back:
        with back.spawn() as lab:
            assert lab.get("kept.txt") == "kept"
        back.stop()


def test_a_new_password_of_the_inventory_wins_over_ones_own(play: Play, hub: Site) -> None:
    """That one's own survives a run is shown with another database, below."""
    own = "a password of ada's own"
    with enter(hub, "ada") as session:
        session.change_password(passwords()["ada"], own)
    theirs = Unsafe(SECRETS["letters"] + SECRETS["dollar"] + SECRETS["braces"])
    run = play(HOST, lambda instances: instances[0]["users"][1].update(password=theirs), *LOUD)
    assert run.code == 0
    untold(run, HOST)
    with Hub(hub.url, hub.ca).login("ada", theirs), pytest.raises(LoginError):
        Hub(hub.url, hub.ca).login("ada", own)
    assert play(HOST).code == 0
    enter(hub, "ada").http.close()


def test_a_new_setting_and_a_declared_image_recreate_the_hub_and_no_servers(
    play: Play, hub: Site, ada: Hub, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM registry.carrel.test:5000/carrel/lab:1.0\nENV BUILT=7\n")
    declared = [{"name": "carrel/users", "folder": str(tmp_path)}]
    # nothing can be pulled for an image that is built on the host
    new: dict[str, Any] = {"default_url": "/lab/tree", "image": {"declared": "carrel/users"}, "reset": {"at": "daily"}}
    new["environment"] = environment()
    with ada.spawn() as lab:
        kernel = lab.kernel()
        kernel.run("x = 41")
        before = {service: hub.started(f"class-{service}-1") for service in ("hub", "proxy", "database")}
        run = play(HOST, lambda instances: instances[0].update(new), *LOUD, jupyter_images=declared)
        assert run.code == 0
        untold(run, HOST)
        after = {service: hub.started(f"class-{service}-1") for service in before}
        assert after["hub"] != before["hub"]
        assert (after["proxy"], after["database"]) == (before["proxy"], before["database"])
        assert kernel.run("print(x + 1)").strip() == "42"
        kernel.socket.close()
    with visit(hub, "grace") as grace, grace.spawn() as lab:
        assert lab.run("import os; print(os.environ['BUILT'])").strip() == "7"
    culler = {"idle_seconds": 5, "every_seconds": 2}
    assert play(HOST, lambda instances: instances[0].update(culler=culler)).code == 0
    until(lambda: not runs(hub, "ada"), "the idle server is culled")
    assert play(HOST).code == 0


def test_a_database_outage_is_reported_and_ends(hub: Site) -> None:
    hub.docker("stop", "class-database-1")
    try:
        until(lambda: "database" in health(hub), "the hub says so")
    finally:
        hub.docker("start", "class-database-1")
    until(lambda: health(hub) == "ok", "the hub has its database again")
    enter(hub, "ada").http.close()


def test_everything_survives_another_database_and_the_way_back(play: Play, hub: Site) -> None:
    with enter(hub, "ada") as session:
        session.change_password(passwords()["ada"], "a password of ada's own")
    assert play(HOST, lambda instances: instances[0].pop("database")).code == 0
    assert "class-database-1" not in hub.docker("ps", "--all", "--format", "'{{.Names}}'")
    with Hub(hub.url, hub.ca).login("ada", "a password of ada's own") as session:
        session.change_password("a password of ada's own", passwords()["ada"])
    assert play(HOST).code == 0
    enter(hub, "ada").http.close()
    hub.docker("exec", "class-database-1", "psql", "--username=jupyterhub", "--command='select name from users'")


def test_held_answers_so_and_comes_back_with_everything(play: Play, hub: Site) -> None:
    with enter(hub, "ada") as session, session.spawn() as lab:
        lab.put("held.txt", "kept")
    assert play(HOST, lambda instances: instances[0].update(state="held")).code == 0
    try:
        answer = requests.get(hub.url, verify=hub.ca, timeout=PATIENCE)
        assert answer.status_code == 503
        assert hub.docker("ps", "--quiet").strip() == "", "neither the hub nor anybody's server runs"
        assert play(HOST, lambda instances: instances[0].update(state="held")).changed == 0
    finally:
        assert play(HOST).code == 0
    with enter(hub, "ada") as session:
        with session.spawn() as lab:
            assert lab.get("held.txt") == "kept"
        session.stop()


def test_a_hub_that_goes_is_archived_whole(play: Play, hub: Site) -> None:
    # Other tests have removed people; the last backup would not be complete without them.
    run_on(HOST, "carrel-backup", "run", hub.name, "--accept-missing", check=False)
    assert play(HOST, lambda instances: instances[0].update(state="absent")).code == 0
    try:
        run_on(HOST, "sh", "-c", "test ! -e /srv/class && ls -d /srv/.archive/class*/data/users/ada/home")
        assert run_on(HOST, "sh", "-c", "ls /var/lib/carrel/class/instance.json 2>/dev/null || true") == ""
    finally:
        assert play(HOST).code == 0
    enter(hub, "prof").http.close()


def test_foreign_directories_and_links_are_reported_and_not_changed(play: Play, hub: Site) -> None:
    foreign = "/srv/class/data/users/grace/home"
    owner = run_on(HOST, "stat", "--format=%u:%g", foreign).strip()
    run_on(HOST, "chown", "4321:4321", foreign)
    try:
        run = play(HOST)
        assert run.code != 0 and foreign in run.output
        assert run_on(HOST, "stat", "--format=%u:%g", foreign).strip() == "4321:4321"
        assert answers(hub)
    finally:
        run_on(HOST, "chown", owner, foreign)

    directory = "/srv/class/data/groups/geometry"
    run_on(HOST, "sh", "-c", f"mv {directory} {directory}.away && ln -s /etc {directory}")
    before = run_on(HOST, "stat", "--format=%u:%g %a", "/etc")
    try:
        run = play(HOST)
        assert run.code != 0 and directory in run.output
        assert run_on(HOST, "stat", "--format=%u:%g %a", "/etc") == before
    finally:
        run_on(HOST, "sh", "-c", f"rm {directory} && mv {directory}.away {directory}")
    assert play(HOST).code == 0


def test_bad_rosters_stop_the_run_before_any_host(play: Play) -> None:
    def change(instances: Instances) -> None:
        instances[0]["users"] += [{"name": "../etc"}, {"name": "x" * 300}, {"name": "eva", "groups": ["statistic"]}]

    run = play(HOST, change)
    assert run.code != 0 and run.changed == 0
    for part in ("../etc", "statistic", "300"):
        assert part in run.output
    empty = play(HOST, lambda instances: (instances[0].update(users=[], groups={}), instances[0].pop("users_csv")))
    assert empty.code != 0 and "allow_no_users" in empty.output
