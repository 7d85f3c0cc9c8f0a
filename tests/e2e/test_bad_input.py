# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bad input gets: a message that says what, where and what to do, and nothing half-done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Play, Site, ansible_playbook, hostvars, run_on, sites

Instances = list[dict[str, Any]]


def state_of(host: str) -> str:
    """Everything that a run could have changed: files of root's, accounts, containers."""
    script = """
        find /srv -path '/srv/*/data/*' -prune -o -path /srv/docker -prune -o -printf '%p %m %u %g %l\n' | sort
        find /etc/apache2 /etc/rootless-docker /etc/cron.d -type f -exec md5sum {} + | sort
        cut -d: -f1 /etc/passwd; cat /etc/subuid
        for socket in /run/user/*/docker.sock; do
            docker --host unix://$socket ps --all --no-trunc --format '{{.ID}} {{.State}}'
        done
    """
    return run_on(host, "sh", "-c", script)


@pytest.fixture(params=["carrel-test-1"])
def untouched(request: pytest.FixtureRequest) -> Iterator[str]:
    """A host that must be the same after the test as before, with its instances answering."""
    host: str = request.param
    before = state_of(host)
    yield host
    assert state_of(host) == before
    for site in sites().values():
        if site.host == host:
            site.lab().login(site.secret)


def test_the_plan_refuses_before_the_host_is_touched(untouched: str, play: Play) -> None:
    """One run for all: tests/unit/test_plan_problems.py has every message."""
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"pasword": "x"}, "password"),
        ({"name": "root"}, "root"),
        ({"url": "https://localhost:8461/atlas/"}, "atlas"),
        ({"port": 70000}, "70000"),
        ({"reset": {"at": "25:00"}}, "25:00"),
        ({"image": "not an image"}, "not an image"),
    ]

    def change(instances: Instances) -> None:
        for number, (mistake, _unused) in enumerate(mistakes):
            good = {"name": f"bad{number}", "url": f"https://localhost:8461/bad{number}/", "image": "debian:13"}
            instances.append({**good, **mistake})

    run = play(untouched, change)
    assert run.code != 0 and run.changed == 0
    for index, (_unused, message) in enumerate(mistakes, 2):
        assert re.search(rf"jupyter_instances\[{index}\].*{message}", run.output), message


def test_an_image_that_cannot_be_pulled_and_settings_that_one_does_not_take(untouched: str, play: Play) -> None:
    """One run for both: each fails for itself."""

    def change(instances: Instances) -> None:
        instances[0].update(image="registry.carrel.test:5000/carrel/missing:9.9")
        instances[1].update(server_settings={"ServerApp": {"max_bodysize": 5}})

    run = play(untouched, change)
    assert run.code != 0
    assert "carrel/missing:9.9" in run.output and "2 of 2 instances" in run.output
    assert "ServerApp has no trait max_bodysize; did you mean max_body_size?" in run.output


def test_a_certificate_that_cannot_be_read_and_a_login_page_that_would_have_no_form(
    untouched: str, play: Play, tmp_path: Path
) -> None:
    """One run for both: each fails for itself."""
    tls = {"mode": "files", "certificate": "/etc/ssl/missing.crt", "private_key": "/etc/ssl/site.key"}
    (tmp_path / "empty.html").write_text("<h1>Welcome</h1>")
    login = {"template": str(tmp_path / "empty.html")}
    run = play(untouched, lambda instances: instances[0].update(login=login), jupyter_tls=tls)
    assert run.code != 0
    assert "/etc/ssl/missing.crt" in run.output
    assert "has no form" in " ".join(run.output.split())


def test_a_dockerfile_that_fails(play: Play, geo: Site, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM registry.carrel.test:5000/carrel/lab:carto\nARG TRIAL\nRUN echo no such package: nonesuch >&2; exit 100\n"
    )
    build = {"context": str(tmp_path), "args": {"TRIAL": "not-to-be-shown"}}
    run = play(geo.host, lambda instances: instances[0].update(build=build))
    assert run.code != 0
    assert "no such package: nonesuch" in run.output.partition("The log ends with:")[2]
    assert "not-to-be-shown" not in run.output
    with geo.lab().login(geo.secret) as lab:
        assert lab.run("print(open('/opt/app-version').read())").strip() == "3.1"


def test_a_full_disk_and_an_image_that_shows_another_directory_than_the_one_that_is_kept(play: Play, geo: Site) -> None:
    """One run for both: each fails for itself."""
    image = "registry.carrel.test:5000/carrel/lab:carto"
    full, lost = (
        {"name": name, "url": f"https://localhost:8463/{name}/", "engine": "geo", "password": "x" * 12, "image": image}
        for name in ("full", "lost")
    )
    run_on(geo.host, "sh", "-c", "mkdir -p /srv/full && mount -t tmpfs -o size=16k tmpfs /srv/full")
    run_on(geo.host, "sh", "-c", "! head -c 9999999 /dev/zero > /srv/full/zero")
    try:
        run = play(geo.host, lambda instances: instances.extend([full, {**lost, "notebooks": "/home/jovyan/mine"}]))
        assert run.code != 0 and "2 of 3 instances" in run.output
        assert "No space left on device" in run.output
        assert "lost was stopped: the server shows /home/jovyan/work, but only /home/jovyan/mine is kept" in run.output
        assert geo.docker("ps", "--quiet", "--filter", "label=carrel.instance=lost") == ""
    finally:
        run_on(geo.host, "sh", "-c", "umount /srv/full && rmdir /srv/full")
        play(geo.host, lambda instances: instances.extend({**each, "state": "absent"} for each in (full, lost)))
    geo.lab().login(geo.secret)


def test_a_host_that_is_down_does_not_stop_another(tmp_path: Path) -> None:
    there = "carrel-test-1"
    hosts = {there: hostvars()[there]}
    # nothing listens on this port
    nowhere = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts["carrel-test-down"] = {**hosts[there], **nowhere}
    run = ansible_playbook(tmp_path, hosts, "playbooks/site.yml")
    assert run.code == 4
    recap = {line.split()[0]: line for line in run.output.splitlines() if "unreachable=" in line}
    assert "unreachable=1" in recap["carrel-test-down"]
    assert "failed=0" in recap[there] and int(recap[there].split("ok=")[1].split()[0]) > 20


def test_a_users_link_in_place_of_a_directory(play: Play, geo: Site) -> None:
    """Root never follows what a user of the container put in place of a directory that root manages."""
    run_on(
        geo.host,
        "sh",
        "-c",
        "mv /srv/geo/data/settings /srv/geo/data/settings.away && ln -s /etc /srv/geo/data/settings",
    )
    try:
        run = play(geo.host)
        assert run.code != 0
        assert "/srv/geo/data/settings is a symbolic link" in run.output
        assert run_on(geo.host, "stat", "-c", "%u", "/etc").strip() == "0"
    finally:
        run_on(
            geo.host, "sh", "-c", "rm /srv/geo/data/settings && mv /srv/geo/data/settings.away /srv/geo/data/settings"
        )
