# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in Carto-Lab Docker's layout is looked at by the playbook adopt, and the plan takes the inventory.

The engine is root's and shows this test's containers alone, the image is the stand-in, accounts, sites and jobs are in
a mount namespace of the test's own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from adopt_site import playbook, shown
from ansible_runner import tree
from hub_site import free_port
from module_runner import open_to_all
from reset_site import compose_plugin

from testbed import images
from testbed.client import Lab
from testbed.patience import until
from testbed.run import ROOT, run

PASSWORD = "a pass{{word}} of Tao's"
UID = 54999
COMPOSE = """
services:
  jupyterlab:
    image: ${IMAGE}
    container_name: ${CONTAINER_NAME}
    ports: ["127.0.0.1:${JUPYTER_WEBPORT:-8888}:8888"]
    volumes: ["${JUPYTER_NOTEBOOKS:-/none}:/home/jovyan/work", "${CONDA_ENVS}:/envs"]
    environment: [JUPYTER_WEBURL, JUPYTER_PASSWORD, COLLABORATIVE, GENERATE_TOKEN, JUPYTER_EXTRA_ARGS]
"""
OVERRIDE = """
services:
  jupyterlab:
    restart: unless-stopped
    environment: [JUPYTER_AUTOSHUTDOWN_TIMEOUT=0]
"""
SITE = """
<VirtualHost *:443>
  ServerName tao.example.org
  SSLEngine on
  SSLCertificateFile /etc/ssl/tao.pem
  SSLCertificateKeyFile /etc/ssl/tao.key
  RewriteEngine On
  RewriteCond %{{HTTP:Upgrade}} websocket [NC]
  RewriteRule /(.*) ws://localhost:{port}/$1 [P,L]
  ProxyPass / http://localhost:{port}/
</VirtualHost>
"""
JOB = """#!/bin/bash
if [ "$(id -u)" -eq 0 ]; then
    exec sudo -H -u tao $0 "$@"
fi
docker compose -f {folder}/docker-compose.yml down
docker compose -f {folder}/docker-compose.yml up -d
"""
NAMESPACE = f"""
cp -r "$WORLD/etc" /
cat "$WORLD/accounts" >> /etc/passwd
echo tao:165536:65536 >> /etc/subuid
echo tao:165536:65536 >> /etc/subgid
mkdir -p /etc/rootless-docker /run/user/{UID}
touch /run/user/{UID}/docker.sock
chown {UID} /run/user/{UID}
mount --bind "$WORLD/docker.sock" /run/user/{UID}/docker.sock
rm -f /run/docker.sock
"""


@dataclass
class World:
    folder: Path
    home: Path
    port: int
    container: str

    def playbook(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return playbook(self.folder, NAMESPACE, *arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = open_to_all(tmp_path_factory.mktemp("adopt"))
    name, home, port = f"adopt-{secrets.token_hex(3)}", folder / "srv" / "tao", free_port()
    project = home / "jupyterlab"
    image = images.build("carto", parent=os.environ["CARREL_TEST_LAB_IMAGE"])
    for made in (project, home / "notebooks", home / "envs", home / ".config/systemd/user"):
        made.mkdir(parents=True)
        os.chown(made, UID, UID)
    (home / ".config/systemd/user/docker.service").write_text("[Service]\n")
    (project / "docker-compose.yml").write_text(COMPOSE)
    (project / "docker-compose.override.yml").write_text(OVERRIDE)
    settings = {
        "IMAGE": image, "CONTAINER_NAME": name, "JUPYTER_PASSWORD": f"'{PASSWORD.replace(chr(39), chr(92) + chr(39))}'",
        "JUPYTER_NOTEBOOKS": home / "notebooks", "CONDA_ENVS": home / "envs", "JUPYTER_WEBPORT": port,
        "JUPYTER_WEBURL": "https://tao.example.org", "COLLABORATIVE": "true", "GENERATE_TOKEN": "true",
        "JUPYTER_EXTRA_ARGS": "--ServerApp.allow_origin=https://tao.example.org",
    }  # fmt: skip
    (project / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    etc = folder / "etc"
    for path, text in {
        "apache2/sites-enabled/tao.conf": SITE.format(port=port),
        "cron.daily/reset_jupyter_tao": JOB.format(folder=project),
    }.items():
        (etc / path).parent.mkdir(parents=True)
        (etc / path).write_text(text)
    (folder / "accounts").write_text(f"tao:x:{UID}:{UID}::{home}:/bin/bash\n")
    # a variable of this machine would win over the file
    unset = [f"--unset={key}" for key in settings]
    command = ["env", *unset, f"DOCKER_CONFIG={compose_plugin()}", "docker", "compose", "--project-name", name]
    command += ["--project-directory", str(project)]
    with shown(folder / "docker.sock", label=f"com.docker.compose.project={name}"):
        os.chown(folder / "docker.sock", UID, UID)
        try:
            run(*command, "up", "--detach")
            yield World(folder, home, port, name)
        finally:
            run(*command, "down", "--timeout", "1")


def logged_in(world: World) -> bool:
    with contextlib.suppress(OSError), Lab(f"http://127.0.0.1:{world.port}/") as lab:
        lab.login(PASSWORD).put("mine.txt", "mine")
        return True
    return False


def test_the_plan_takes_what_the_playbook_wrote_and_nothing_was_touched(world: World) -> None:
    until(lambda: logged_in(world), "people can log in to the lab that was set up by hand")
    before, started = tree(world.home), run("docker", "inspect", "--format", "{{.State.StartedAt}}", world.container)
    adopt = ["-i", "lab1,", str(ROOT / "playbooks/adopt.yml"), "-e", f"jupyter_base_dir={world.home.parent}", "-vvv"]
    folder = world.folder / "adopted"
    done = world.playbook(*adopt, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "## tao-lab: https://tao.example.org/" in done.stdout and not folder.exists()
    folder.mkdir()
    folder.chmod(0o755)
    done = world.playbook(*adopt)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "word}}" not in done.stdout + done.stderr
    assert tree(world.home) == before
    assert run("docker", "inspect", "--format", "{{.State.StartedAt}}", world.container) == started

    assert folder.stat().st_mode & 0o777 == 0o755 and (folder / "host_vars").stat().st_mode & 0o777 == 0o700
    variables = folder / "host_vars" / "lab1"
    assert (variables / "vault.yml").stat().st_mode & 0o777 == 0o600
    report = (folder / "lab1.md").read_text()
    assert "## tao-lab: https://tao.example.org/" in report and f"{world.home}/notebooks is moved to" in report
    assert "Docker as root" not in report
    assert PASSWORD not in report + (variables / "jupyter.yml").read_text()

    (folder / "hosts").write_text("lab1\n")
    copy = {"content": "{{ it.plan.lab_instances[0] | to_json }}", "dest": str(folder / "plan.json")}
    tasks = [{"carrel.jupyter.plan": {}, "register": "it"}, {"ansible.builtin.copy": copy}]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (world.folder / "plan.yml").write_text(yaml.safe_dump(play))
    done = world.playbook("-i", str(folder / "hosts"), "plan.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    lab = yaml.safe_load((folder / "plan.json").read_text())
    assert (lab["name"], lab["engine"], lab["url"]) == ("tao-lab", "tao", "https://tao.example.org/")
    assert (lab["password"], lab["port"], lab["owner"]) == (PASSWORD, world.port, "0:0")
    assert lab["volumes"] == [{"source": f"{world.home}/envs", "target": "/envs", "read_only": False}]
    assert lab["environment"] == {} and lab["collaboration"] is True

    again = world.playbook(*adopt)
    assert again.returncode != 0 and "is there already and is not replaced: move it away" in again.stdout
    variables.rename(folder / "host_vars" / "lab2")
    again = world.playbook(*adopt)
    assert again.returncode != 0 and "lab1.md is there already and is not replaced" in again.stdout
    assert (folder / "lab1.md").read_text() == report and not variables.exists()
