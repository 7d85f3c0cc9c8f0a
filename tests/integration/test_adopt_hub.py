# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running hub after jupyterhub-deploy-docker is looked at by the playbook adopt; its people keep their passwords.

The engine is root's, as there, and shows this test's containers and volumes alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hub_image
import pytest
import requests
import yaml
from adopt_site import playbook, shown
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from hub_site import HubSite, free_port, person
from module_runner import open_to_all
from reset_site import compose_plugin

from testbed import deploy_docker
from testbed.client import LoginError
from testbed.hub_client import Hub
from testbed.patience import SOON, until
from testbed.run import ROOT, run

PASSWORD = "of the old hub"
VOLUMES = "/var/lib/docker/volumes"
SITE = """
<VirtualHost *:80>
  ServerName hub.example.org
  ProxyPass / http://127.0.0.1:{port}/
</VirtualHost>
"""
NAMESPACE = """
cp -r "$WORLD/etc" /
rm -f /run/docker.sock
touch /run/docker.sock
mount --bind "$WORLD/docker.sock" /run/docker.sock
"""


@dataclass
class World:
    folder: Path
    name: str
    port: int
    images: tuple[str, str]

    @property
    def ada(self) -> str:
        return f"ada@{self.name}"

    @property
    def admin(self) -> str:
        return f"prof-{self.name}"

    def old(self) -> Hub:
        return Hub(f"http://127.0.0.1:{self.port}/")

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.port}/hub/health", timeout=SOON).status_code == 200
        return False

    def volume(self, name: str) -> str:
        return f"jupyterhub-user-{escape(name)}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = open_to_all(tmp_path_factory.mktemp("adopt"))
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    world = World(folder, f"deploy{secrets.token_hex(3)}", free_port(), images)
    project = folder / "project"
    project.mkdir()
    settings = {
        "HUB_IMAGE": images[0], "LAB_IMAGE": images[1], "NAME": world.name, "PORT": world.port, "ADMIN": world.admin,
    }  # fmt: skip
    deploy_docker.write(project, settings)
    site = folder / "etc/apache2/sites-enabled/hub.conf"
    site.parent.mkdir(parents=True)
    site.write_text(SITE.format(port=world.port))
    command = ["env", f"DOCKER_CONFIG={compose_plugin()}", "docker", "compose", "--project-name", world.name]
    command += ["--project-directory", str(project)]
    try:
        with shown(folder / "docker.sock", name=world.name):
            run(*command, "up", "--detach")
            yield world
    finally:
        servers = run("docker", "ps", "--all", "--quiet", "--filter", f"name={world.name}").split()
        run("docker", "rm", "--force", "--volumes", *servers, check=False)
        run(*command, "down", "--volumes", "--timeout", "1")
        run("docker", "volume", "rm", "--force", world.volume(world.ada), world.volume(world.admin))


@pytest.fixture(scope="module")
def inventory(world: World) -> Path:
    """What adopt writes about a hub with two people, of whom one has a server."""
    until(world.answers, lambda: f"the old hub answers:\n{run('docker', 'logs', world.name, check=False)}")
    for name in (world.ada, world.admin):
        with world.old() as hub:
            deploy_docker.sign_up(hub, name, PASSWORD)
    with world.old().login(world.ada, PASSWORD) as hub, hub.spawn() as lab:
        lab.put("mine.txt", "mine")
    started = run("docker", "inspect", "--format", "{{.State.StartedAt}}", world.name)
    adopt = ["-i", "lab1,", str(ROOT / "playbooks/adopt.yml"), "-e", f"jupyter_base_dir={world.folder}/srv", "-vvv"]
    done = playbook(world.folder, NAMESPACE, *adopt)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$2b$" not in done.stdout
    assert run("docker", "inspect", "--format", "{{.State.StartedAt}}", world.name) == started
    return world.folder / "adopted"


def test_the_plan_takes_what_was_written(world: World, inventory: Path) -> None:
    (inventory / "hosts").write_text("lab1\n")
    copy = {"content": "{{ it.plan.hub_instances[0] | to_json }}", "dest": str(inventory / "plan.json")}
    tasks = [{"carrel.jupyter.plan": {}, "register": "it"}, {"ansible.builtin.copy": copy}]
    (world.folder / "plan.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = playbook(world.folder, NAMESPACE, "-i", str(inventory / "hosts"), "plan.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    hub = yaml.safe_load((inventory / "plan.json").read_text())
    assert (hub["name"], hub["url"], hub["port"]) == (world.name, "http://hub.example.org/", world.port)
    assert hub["images"][0]["image"] == world.images[1]
    assert [(user["name"], user["admin"]) for user in hub["users"]] == [(world.ada, False), (world.admin, True)]
    report = (inventory / "lab1.md").read_text()
    for words in (
        f"{world.folder}/project/jupyterhub_config.py is Python, and was not read",
        f"the container {world.name} of Docker as root, and people's servers, are stopped",
        f"{VOLUMES}/{world.volume(world.ada)}/_data is copied to {world.folder}/srv/{world.name}/data/users/",
        f"{world.admin} have no volume jupyterhub-user-NAME",
    ):
        assert words in report
    assert (Path(VOLUMES) / world.volume(world.ada) / "_data/mine.txt").read_text() == "mine"


def test_people_keep_their_passwords_in_a_hub_of_the_collection(world: World, inventory: Path) -> None:
    hashes = yaml.load((inventory / "host_vars/lab1/vault.yml").read_text(), Loader)["vault_jupyter_adopted"]
    folder = world.folder / "new"
    folder.mkdir()
    site = HubSite(folder, f"{world.name}-new", world.images)
    site.people = {name: person(name) for name in (world.ada, world.admin)}
    site.passwords = {name: hashes[world.name]["password_hashes"][escape(name)] for name in site.people}
    try:
        site.up()
        for name in site.people:
            with site.session() as hub:
                hub.login(name, PASSWORD)
        with pytest.raises(LoginError), site.session() as hub:
            hub.login(world.ada, site.passwords[world.ada])
    finally:
        site.down()


class Loader(yaml.SafeLoader):
    """Takes Ansible's tag for text that is no template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
