# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that the inventory declares: the site playbook builds them in an instance's own engine, on a real host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import images

from .conftest import Play, Site, ansible_playbook, hostvars, run_on

OF_HOST = "https://localhost:8463/"
# In the engine of the lab that the host has anyway.
LAB: dict[str, Any] = {
    "name": "statistics", "kind": "lab", "engine": "geo", "url": f"{OF_HOST}statistics/",
    "image": {"declared": "carrel/statistics"}, "password": "means and medians",
}  # fmt: skip


def declare(package: str) -> dict[str, Any]:
    """The inventory's variables for the lab's image."""
    return {
        "jupyter_images": [{"name": "carrel/statistics", "kernels": ["bash"], "pip": [package]}],
        "image_lab_base": f"registry.carrel.test:5000/{images.BASE}",
        "image_extra_ca_certificates": [path.read_text() for path in images.MACHINE_CERTIFICATES.glob("*.crt")],
    }


@pytest.fixture
def statistics(geo: Site) -> Site:
    return Site(geo.host, LAB, geo.ca)


def test_a_lab_runs_the_image_that_the_inventory_declares(play: Play, statistics: Site) -> None:
    declared = declare("humanize==4.13.0")
    foretold = play(statistics.host, lambda instances: instances.append(LAB), "--check", **declared)
    assert foretold.code == 0 and foretold.changed > 0
    assert play(statistics.host, lambda instances: instances.append(LAB), **declared).code == 0
    with statistics.lab().login(statistics.secret) as lab:
        assert lab.kernel("bash").run("echo $((6 * 7))").strip() == "42"
        assert lab.run("import humanize; print(humanize.intcomma(1000000))").strip() == "1,000,000"
    again = play(statistics.host, lambda instances: instances.append(LAB), **declared)
    assert (again.code, again.changed) == (0, 0)
    assert "tasks/image.yml" not in again.output, "no image is gone through that is as declared"


def test_a_failed_build_changes_neither_its_lab_nor_the_others(play: Play, geo: Site, statistics: Site) -> None:
    before = statistics.started(statistics.container_name())

    def change(instances: list[dict[str, Any]]) -> None:
        instances[0]["login"] = {"notice": "The others go on"}
        instances.append({**LAB, "password": "not to be"})

    run = play(geo.host, change, **declare("no-such-package-of-anybody==1.0"))
    assert run.code != 0
    assert "statistics: unchanged, because there is no image carrel/statistics" in run.output
    assert "no-such-package-of-anybody" in run.output
    assert statistics.started(statistics.container_name()) == before
    with statistics.lab().login(statistics.secret) as lab:
        assert lab.kernel("bash").run("echo $((6 * 7))").strip() == "42"
    assert "The others go on" in geo.lab().http.get(geo.url + "login", verify=geo.ca).text


def test_one_host_builds_and_another_pulls_by_digest(geo: Site, tmp_path: Path) -> None:
    """As docs/howto/images.md has it: a play for the host that builds, then the site playbook for those with instances.

    The two hosts of the inventory are one machine, with an engine each.
    """
    (tmp_path / "Dockerfile").write_text("FROM registry.carrel.test:5000/carrel/lab:1.0\nENV BUILT=7\n")
    registry = "registry.carrel.test:5000/built"
    pulled = Site(geo.host, {**LAB, "name": "pulled", "engine": "pulled", "url": f"{OF_HOST}pulled/"}, geo.ca)
    machine = {**hostvars()[geo.host], "ansible_host": geo.host}
    machine["jupyter_images"] = [{"name": "carrel/statistics", "folder": str(tmp_path), "push": registry}]
    instances = [*machine["jupyter_instances"], pulled.declared]
    hosts = {"builder": machine, "other": {**machine, "jupyter_instances": instances, "image_pull_from": "builder"}}
    socket = f"/run/user/{run_on(geo.host, 'id', '-u', 'geo').strip()}/docker.sock"
    variables = {"image_socket": socket, "image_builds": "{{ jupyter_images }}"}
    build = {"hosts": "builder", "gather_facts": False, "roles": [{"role": "carrel.jupyter.image", "vars": variables}]}
    site = {"import_playbook": "carrel.jupyter.site", "vars": {"jupyter_hosts": "other"}}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(yaml.safe_dump([build, site]))
    first, second = (ansible_playbook(tmp_path, hosts, playbook) for _unused in range(2))
    assert first.code == 0 and first.changed > 0
    assert (second.code, second.changed) == (0, 0)
    runs = pulled.docker("inspect", "--format", "'{{.Config.Image}}'", pulled.container_name())
    assert runs.startswith(f"{registry}/carrel/statistics@sha256:")
    assert pulled.container("printenv", "BUILT").strip() == "7"
    pulled.lab().login(pulled.secret)


def test_the_labs_are_removed_and_the_other_as_it_was(play: Play, geo: Site) -> None:
    def change(instances: list[dict[str, Any]]) -> None:
        for name in "statistics", "pulled":
            engine = "geo" if name == "statistics" else name
            instances.append({**LAB, "name": name, "engine": engine, "url": f"{OF_HOST}{name}/", "state": "absent"})

    assert play(geo.host, change, **declare("humanize==4.13.0")).code == 0
    assert not {"statistics", "pulled"} & set(run_on(geo.host, "ls", "/srv").split())
    assert geo.lab().login(geo.secret)
