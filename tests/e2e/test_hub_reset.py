# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resets of a hub behind Apache: busy servers keep running, idle ones are renewed, homes stay."""

from __future__ import annotations

import subprocess

import requests

from testbed.client import Lab
from testbed.load import Load
from testbed.patience import PATIENCE

from .conftest import Site, enter, passwords, reset, run_on, until, visit
from .resets import DONE, home, settings, state, work


def mark(hub: Site, user: str) -> None:
    """Leave a file where nothing is kept."""
    hub.docker("exec", "--user", "0", f"class_{user}", "touch", "/opt/gone")


def marked(hub: Site, user: str) -> bool:
    return "gone" in hub.docker("exec", f"class_{user}", "ls", "/opt").split()


def test_busy_servers_keep_running_and_idle_ones_are_renewed(hub: Site) -> None:
    with visit(hub, "ada") as ada, visit(hub, "grace") as grace:
        hers, theirs = ada.spawn(), grace.spawn()
        theirs.put("kept.txt", "kept")
        for user in ("ada", "grace"):
            mark(hub, user)
        kernel = work(hers, "import time; time.sleep(600)")
        names = ("class-hub-1", "class-proxy-1", "class_ada", "class_grace")
        before = {name: hub.started(name) for name in names}
        url, cookies = hers.url + "api/status", _cookies(hers.http)
        with Load(url, hub.ca, cookies, timeout_seconds=PATIENCE) as load:
            code, output = reset(hub, "--people", "skip")
        assert code == DONE and "ada" in output
        after = {name: hub.started(name) for name in names}
        assert {name for name in names if before[name] != after[name]} == {"class-hub-1", "class_grace"}
        assert load.failures == [], "the proxy and the server of who is at work were left alone"
        kernel.socket.ping()
        assert marked(hub, "ada") and not marked(hub, "grace")
        # the new server asks the hub who this is, as a page that is loaded does
        assert grace.lab().get("kept.txt") == "kept"
        assert state(hub)["result"] == "done"

        with settings(hub, deadline_seconds=3):
            code, output = reset(hub, "--people", "wait", "--no-pull")
        assert code == DONE and "ada" in output
        assert not marked(hub, "ada")


def _cookies(session: requests.Session) -> dict[str, str]:
    """Those of the user's server: names may be there twice, for the hub's path and for the server's."""
    return {cookie.name: cookie.value or "" for cookie in session.cookies if "/user/" in cookie.path}


def test_a_kill_between_a_users_servers(hub: Site) -> None:
    script = """
    carrel-reset class --people ignore --no-pull &
    until grep --quiet '"step": "stop"' /var/lib/carrel/class/reset/state.json; do :; done
    sleep 0.7
    kill -9 $!
    """
    with visit(hub, "ada") as ada:
        ada.spawn().put("kept.txt", "kept")
        # the state of the run before is at its end
        assert state(hub)["step"] != "stop"
        run_on(hub.host, "bash", "-c", script)
        assert state(hub)["result"] == "running"
        code, output = reset(hub, "--people", "ignore", "--no-pull")
        assert code == DONE, output
        until(lambda: "class_ada" in hub.docker("ps", "--format", "'{{.Names}}'"), "ada's server runs")
        until(lambda: _gets(ada.lab(), "kept.txt"), "ada's server answers")
    assert state(hub)["result"] == "done"


def _gets(lab: Lab, name: str) -> bool:
    try:
        return lab.request("GET", f"api/contents/{name}", check=False).status_code == 200
    except requests.RequestException:
        return False


def test_the_database_and_the_log_ins_survive(hub: Site) -> None:
    with enter(hub, "prof") as prof:
        assert reset(hub, "--no-pull")[0] == DONE
        until(lambda: prof.request("GET", "api/user", check=False).status_code == 200, "prof is still logged in")


def test_cron_daily_runs_it_as_roots_script(hub: Site) -> None:
    script = "/etc/cron.daily/carrel-class"
    assert run_on(hub.host, "stat", "--format", "%U %a", script).split() == ["root", "755"]
    assert script in run_on(hub.host, "run-parts", "--test", "/etc/cron.daily").split()
    before = hub.started("class-hub-1")
    with settings(hub, lead_seconds=0, notice_seconds=0):
        run_on(hub.host, script)
    assert hub.started("class-hub-1") != before
    assert run_on(hub.host, "stat", "--format", "%U", "/var/lib/carrel/class/reset/state.json").strip() == "class"


def test_a_second_reset_of_a_hub_is_refused_during_the_first(hub: Site) -> None:
    # what servers and the database write by themselves is elsewhere
    folders = [*(f"users/{user}/home" for user in passwords()), "groups", "shared", "colab"]
    kept = home(hub, *folders)
    first = subprocess.Popen(["docker", "exec", hub.host, "carrel-reset", "class", "--people", "ignore", "--no-pull"])
    until(lambda: state(hub)["result"] == "running", "the first has begun")
    assert reset(hub, "--no-pull")[0] == 3
    assert first.wait(PATIENCE) == DONE
    assert home(hub, *folders) == kept
