# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub after jupyterhub-deploy-docker, in Docker as root, is adopted, taken over and given back.

The tests look at one step after the other, in the order in which they stand here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import requests

from testbed import __main__ as testbed
from testbed import deploy_docker, hosts, images, pki
from testbed.hub_client import Hub
from testbed.patience import SOON, until
from tests.adopt.test_takeover import Inventory, written
from tests.e2e.conftest import run_on
from tests.integration import hub_image

HOST, GROUP, PORT, BEHIND = "carrel-adopt-hub-1", "adopt-hub", 9472, 8000
NAME, ADA, PROF, PASSWORD = "class", "ada@uni", "prof", "of the old hub"
PROJECT, ROOT = "/root/hub", "/srv/.docker"
SITE = "/etc/apache2/sites-enabled/hub.conf"
HOME = f"/srv/{NAME}/data/users/ada-40uni/home"
TAKE = ("-e", f"jupyter_takeover={NAME}")
BACK = (*TAKE, "-e", "jupyter_takeover_back=true")
ABSENT = ("-e", f'{{"jupyter_instances": [{{"name": "{NAME}", "kind": "hub", "state": "absent"}}]}}')

VHOST = f"""<VirtualHost *:{PORT}>
  ServerName localhost
  SSLEngine on
  SSLCertificateFile /etc/ssl/site.crt
  SSLCertificateKeyFile /etc/ssl/site.key
  ProxyPreserveHost on
  RequestHeader set X-Forwarded-Proto https
  ProxyPass / http://127.0.0.1:{BEHIND}/ upgrade=websocket
</VirtualHost>
"""
PACKAGES = "docker.io docker-cli docker-compose iptables apache2"
# Docker cannot lay its images over the file system of a container, but over that of a volume.
BY_HAND = f"""set -e
mkdir -p /etc/docker
echo '{{"data-root": "{ROOT}"}}' > /etc/docker/daemon.json
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends {PACKAGES} > /dev/null
a2enmod -q ssl headers proxy proxy_http
echo 'Listen {PORT}' >> /etc/apache2/ports.conf
ln -s ../sites-available/hub.conf {SITE}
systemctl restart apache2
docker pull --quiet {hosts.REGISTRY_NAME}/carrel/lab:1.0
docker compose --project-directory {PROJECT} up --detach --quiet-pull
"""


def write(path: str, text: str) -> None:
    run_on(HOST, "install", "-D", "-m", "644", "/dev/stdin", path, input_text=text)


def set_up_by_hand() -> None:
    old = images.push(hub_image.build(), hosts.registry_address(), "carrel/old-hub:1.0")
    settings = {
        "HUB_IMAGE": f"{hosts.REGISTRY_NAME}/{old}", "LAB_IMAGE": f"{hosts.REGISTRY_NAME}/carrel/lab:1.0",
        "NAME": NAME, "PORT": BEHIND, "ADMIN": PROF,
    }  # fmt: skip
    write("/etc/apache2/sites-available/hub.conf", VHOST)
    for name, text in deploy_docker.project(settings).items():
        write(f"{PROJECT}/{name}", text)
    run_on(HOST, "sh", "-c", BY_HAND)


def session() -> Hub:
    return Hub(f"https://localhost:{PORT}/", str(pki.CA))


def answers() -> bool:
    with contextlib.suppress(requests.RequestException):
        health = requests.get(f"https://localhost:{PORT}/hub/health", timeout=SOON, verify=str(pki.CA))
        return health.status_code == 200
    return False


def inspected(shown: str) -> str:
    return run_on(HOST, "docker", "inspect", "--format", shown, NAME).strip()


def running() -> list[str]:
    return sorted(run_on(HOST, "docker", "ps", "--format", "{{.Names}}").split())


def owner(path: str) -> str:
    return run_on(HOST, "stat", "--format", "%u:%g", path).strip()


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    testbed.down(GROUP)  # what a run that was killed has left
    try:
        testbed.up(GROUP, [f"{HOST}={PORT}"])
        testbed.push_hub_base()
        set_up_by_hand()
        until(answers, "the hub that was set up by hand answers")
        yield written(tmp_path_factory.mktemp("inventory"), HOST)
    finally:
        testbed.down(GROUP)


def test_adopt_writes_the_inventory(inventory: Inventory) -> None:
    for name in (ADA, PROF):
        with session() as hub:
            deploy_docker.sign_up(hub, name, PASSWORD)
    with session().login(ADA, PASSWORD) as hub, hub.spawn() as lab:
        lab.put("mine.txt", "mine")
    run = inventory.play("adopt", "-e", f"jupyter_adopt_directory={inventory.folder}")
    assert run.code == 0, run.output
    check = inventory.play("takeover", *TAKE, "--check", "--diff")
    assert check.code == 0 and f"+from {ROOT}/volumes/jupyterhub-user-ada-40uni/_data\n" in check.output, check.output
    assert answers() and len(running()) == 2


def test_the_takeover_ends_the_old_hub_and_copies_the_files(inventory: Inventory) -> None:
    run = inventory.play("takeover", *TAKE)
    assert run.code == 0 and f"{NAME} is down until you run carrel.jupyter.site" in run.output, run.output
    assert running() == [] and inspected("{{.HostConfig.RestartPolicy.Name}}") == "no"
    assert run_on(HOST, "cat", f"{HOME}/mine.txt") == run_on(
        HOST, "cat", f"{ROOT}/volumes/jupyterhub-user-ada-40uni/_data/mine.txt"
    )
    assert owner(HOME) == owner(f"{HOME}/mine.txt") != "1000:100"
    again = inventory.play("takeover", *TAKE)
    assert (again.code, again.changed) == (0, 0), again.output


def test_people_have_their_passwords_and_files(inventory: Inventory) -> None:
    run = inventory.play("site")
    assert run.code == 0, run.output
    with session().login(ADA, PASSWORD) as hub, hub.spawn() as lab:
        assert lab.get("mine.txt") == "mine"
        code = "import os; status = os.stat('/home/jovyan/work/mine.txt'); print(status.st_uid, status.st_gid)"
        assert lab.run(code).strip() == "1000 100"
        lab.put("later.txt", "later")
    assert running() == []
    for playbook in (("takeover", *TAKE), ("site",)):
        again = inventory.play(*playbook)
        assert (again.code, again.changed) == (0, 0), again.output


def test_the_way_back_brings_what_people_wrote_since(inventory: Inventory) -> None:
    refused = inventory.play("takeover", *BACK)
    assert refused.code != 0 and f"{NAME} is still there: write state: absent" in refused.output, refused.output
    gone = inventory.play("site", *ABSENT)
    assert gone.code == 0, gone.output
    check = inventory.play("takeover", *BACK, "--check", "--diff")
    assert check.code == 0 and "+1 newer files\n" in check.output, check.output
    run = inventory.play("takeover", *BACK)
    assert run.code == 0, run.output
    until(answers, "the hub that was set up by hand answers")
    assert inspected("{{.HostConfig.RestartPolicy.Name}}") == "always"
    with session().login(ADA, PASSWORD) as hub, hub.spawn() as lab:
        assert (lab.get("mine.txt"), lab.get("later.txt")) == ("mine", "later")
        lab.put("mine.txt", "mine again")
    again = inventory.play("takeover", *BACK)
    assert (again.code, again.changed) == (0, 0), again.output
