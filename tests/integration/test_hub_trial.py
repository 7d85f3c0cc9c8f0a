# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New images of a hub's users, and old ones of hubs: the role's tasks, a registry, and a hub. Runs as root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_image
import pytest
from ansible_collections.carrel.jupyter.plugins.action.plan import ControlFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_runner import PLAYBOOK
from hub_site import HubSite
from module_runner import open_to_all
from own_images import registry
from reset_site import compose_plugin

from testbed.run import run

SOCKET = "/var/run/docker.sock"
IDS = {"start": 1, "count": 65536}  # an engine that root runs maps no ids
CELLS = ["import os", "assert not os.path.exists('/opt/broken'), 'libgeo is missing'"]
CONFIG = {
    "version": "0.1", "log": {"level": "warn"}, "storage": {"filesystem": {"rootdirectory": "/tmp/registry"}},
    "http": {"addr": ":5000"},
}  # fmt: skip


class Trial:
    """A hub with two images, which the registry has, too, and which the engine has had since an earlier run."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.name, self.lab = folder, f"trial-{os.getpid()}", os.environ["CARREL_TEST_LAB_IMAGE"]
        self.address = address
        self.one, self.two = (f"{address}/{name}:1" for name in ("one", "two"))
        self.hub_image = hub_image.build()
        self.hub = HubSite(folder, self.name, (self.hub_image, self.two))
        cells = [{"cell_type": "code", "metadata": {}, "source": text, "outputs": []} for text in CELLS]
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
        (folder / "check.ipynb").write_text(json.dumps(notebook))

    def publish(self, tag: str, steps: str) -> str:
        """Give the registry a new image under the tag; the engine keeps its own. Return the new one's id."""
        before = self.meant().get(tag)
        (self.folder / "Dockerfile").write_text(f"FROM {self.lab}\nUSER 0\nRUN {steps}\nUSER 1000:100\n")
        run("docker", "build", "--quiet", "--file", self.folder / "Dockerfile", "--tag", tag, self.folder / "users")
        new = self.meant()[tag]
        run("docker", "push", "--quiet", tag)
        if before:
            run("docker", "tag", before, tag)
        return new

    def meant(self) -> dict[str, str]:
        """What the tags mean in the engine."""
        listed = run("docker", "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        found = dict(line.split() for line in listed.splitlines())
        return {tag: found[tag] for tag in (self.one, self.two) if tag in found}

    def instance(self, images: list[str]) -> dict[str, Any]:
        entry = {
            "name": self.name, "kind": "hub", "url": "https://class.example.org/", "tls": "selfsigned",
            "users": ["ada"], "images": [{"title": image, "image": image} for image in images], "pull": "always",
            "smoke": ["check.ipynb"], "smoke_timeout_seconds": 60,
        }  # fmt: skip
        problems = Problems()
        plan = make_plan(Inputs(instances=[entry]), ControlFiles(str(self.folder)), problems)
        assert plan, problems.items
        made: dict[str, Any] = plan["hub_instances"][0]
        return {**made, "directory": str(self.folder / "site"), "port": self.hub.port}

    def command(self, tasks: str, *images: str, **more: str) -> list[str]:
        """Return what runs the role's tasks for this hub."""
        engine = {
            "running": True, "socket": SOCKET, "home": str(self.folder), "uid": 0, "gid": 0, "subuid": IDS,
            "subgid": IDS, "controllers": ["memory", "pids"],
        }  # fmt: skip
        given = {
            "__hub_instance": self.instance([*images]), "__hub_engine": engine, "__hub_state": tasks,
            "__hub_image_tag": self.hub_image, **more,
        }  # fmt: skip
        (self.folder / "given.json").write_text(json.dumps(given))
        shown = "{{ lookup('ansible.builtin.file', '" + str(self.folder / "given.json") + "') | from_json }}"
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "given": shown,
            "hub_host": {"engines": {}, "instances": {}, "packages": []}, "__hub_failures": [],
            "__hub_sockets": {"paths": {SOCKET: SOCKET}},
        }  # fmt: skip
        role = {"name": "carrel.jupyter.hub", "tasks_from": "guarded.yml"}
        play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [
            {"ansible.builtin.include_role": role, "vars": {name: f"{{{{ given.{name} }}}}" for name in given}},
            {"ansible.builtin.debug": {"msg": "FAILURES {{ __hub_failures | to_json }}"}},
        ]}  # fmt: skip
        playbook = self.folder / "play.json"
        playbook.write_text(json.dumps([play]))
        return [str(PLAYBOOK), "--inventory", "localhost,", str(playbook)]

    def site(self, tasks: str, *images: str, **more: str) -> tuple[list[dict[str, str]], str]:
        """Run the tasks; return the failures that the role reports, and all that Ansible printed."""
        command = self.command(tasks, *images, **more)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        lines = [line.strip() for line in done.stdout.splitlines() if '"msg": "FAILURES ' in line]
        assert len(lines) == 1, done.stdout + done.stderr
        failures = json.loads(json.loads("{" + lines[0] + "}")["msg"].removeprefix("FAILURES "))
        return failures, done.stdout

    def killed(self, tasks: str, *images: str) -> None:
        """Run the tasks, and kill them as soon as a tag means another image."""
        before, command = self.meant(), self.command(tasks, *images)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(), start_new_session=True) as running:
            while self.meant() == before:
                assert running.poll() is None
                time.sleep(0.05)
            os.killpg(running.pid, signal.SIGKILL)

    def containers(self) -> str:
        """The hub's and its users', as they run; none of a trial may be left."""
        return run(
            "docker", "ps", "--all", "--no-trunc", "--filter", f"name={self.name}", "--format", "{{.ID}} {{.State}}"
        )

    def remove(self) -> None:
        self.hub.down()
        listed = run("docker", "images", "--format", "{{.Repository}} {{.ID}}").splitlines()
        mine = {line.split()[1] for line in listed if line.startswith(f"{self.address}/")}
        run("docker", "image", "rm", "--force", *mine, check=False)
        for folder in ("/var/lib/carrel", "/run/carrel/docker"):
            shutil.rmtree(f"{folder}/{self.name}", ignore_errors=True)


def environment() -> dict[str, str]:
    given = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    return {**os.environ, "DOCKER_CONFIG": str(compose_plugin()), **given}


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    (tmp_path / "config.yml").write_text(json.dumps(CONFIG))
    command = ["docker-registry", "serve", "/etc/registry/config.yml"]
    with registry(*command, options=["--volume", f"{tmp_path}/config.yml:/etc/registry/config.yml:ro"]) as address:
        made = Trial(open_to_all(tmp_path), address)
        try:
            yield made
        finally:
            made.remove()


def test_only_an_image_whose_notebooks_pass_stays_under_its_tag(trial: Trial) -> None:
    one, two = trial.one, trial.two
    for tag in (one, two):
        trial.publish(tag, f"echo {tag} > /opt/old")
    old = trial.meant()
    trial.hub.up()
    before = trial.containers()

    trial.publish(one, "touch /opt/good")
    missing = f"{two}-missing"
    failures, output = trial.site("present", one, missing)
    (failed,) = failures
    assert failed["task"] == "Images | Pull the images of the users and the database", output
    assert missing in failed["message"]
    assert trial.meant() == old, "an image that was pulled, but not tried, is not under its tag"

    trial.publish(two, "touch /opt/broken")
    failures, output = trial.site("present", two, one)
    assert [(failed["name"], failed["message"]) for failed in failures] == [(
        trial.name, f"a smoke notebook failed in the image {two}, and the tag means the old image again: "
        "check.ipynb, cell 2: AssertionError: libgeo is missing",
    )], output  # fmt: skip
    assert trial.meant() == old, "the other was not tried"
    assert trial.containers() == before and not (trial.folder / "site" / "compose.yaml").exists(), "the hub runs on"
    trial.hub.wait()

    better = trial.publish(two, "touch /opt/better")
    failures, output = trial.site("accept", two)
    assert failures == [] and trial.meant() == {**old, two: better}, output
    record = json.loads(Path(f"/var/lib/carrel/{trial.name}/smoked.json").read_text())
    assert record == [better] and trial.containers() == before


def test_a_run_that_is_killed_leaves_the_way_back(trial: Trial) -> None:
    trial.publish(trial.one, "touch /opt/old")
    old = trial.meant()
    trial.publish(trial.one, "touch /opt/broken")
    trial.killed("accept", trial.one)
    assert trial.meant() != old, "it was killed between the pull and the trial"
    failures, output = trial.site("accept", trial.one)
    (failed,) = failures
    assert "a smoke notebook failed" in failed["message"] and "means the old image again" in failed["message"], output
    assert trial.meant() == old
    assert not Path(f"/var/lib/carrel/{trial.name}/before.json").exists()


def test_old_images_of_hubs_go_and_nothing_else(trial: Trial) -> None:
    repository = f"{trial.name}/hub"
    names = [f"{repository}:{tag}" for tag in ("held", "named", "one", "two", "before", "lab", "now")]

    def there() -> set[str]:
        return {*run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()} & {*names, "other/hub:1"}

    file = trial.folder / "empty" / "Dockerfile"
    file.parent.mkdir()
    for name in [*names, "other/hub:1"]:
        ours = "" if name.endswith(":lab") else 'carrel.hub=""'
        file.write_text(f'FROM scratch\nLABEL name={name} at={time.time_ns()} {ours}\nCMD ["/none"]\n')
        run("docker", "build", "--quiet", "--tag", name, file.parent)
        time.sleep(1.1)  # Docker lists the times of images in seconds
    container = run("docker", "create", f"{repository}:held").strip()
    run("docker", "tag", f"{repository}:named", f"{trial.address}/kept")
    try:
        kept = {*names, "other/hub:1"} - {f"{repository}:one", f"{repository}:two"}
        for changes in (True, False):
            failures, output = trial.site("old", trial.one, __hub_image_name=f"{repository}:now")
            assert failures == [] and "WARNING" not in output and there() == kept, output
            assert ("changed=0" not in output) is changes, output
    finally:
        run("docker", "rm", container)
        run("docker", "image", "rm", *there())
