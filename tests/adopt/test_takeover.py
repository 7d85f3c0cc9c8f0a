# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab that was set up by hand, as Carto-Lab Docker's documentation says, is adopted, taken over, and given back.

The tests look at one step after the other, in the order in which they stand here.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from testbed import __main__ as testbed
from testbed import hosts as testbed_hosts
from testbed import pki
from testbed.client import Lab, LoginError
from testbed.patience import until
from tests.e2e.conftest import ROOT, Playbook, plain, run_on, run_playbook

HOST = "carrel-adopt-1"
OUTER, BEHIND = 9471, 9288
# Of the old setup, not to be taken for a template.
PASSWORD = "a pass{{word}} of $Tao's"
HOME = "/srv/tao"
NEW = "/srv/tao-lab/data/notebooks"
JOB, SITE = "/etc/cron.daily/reset_jupyter_tao", "/etc/apache2/sites-enabled/tao.conf"
RECORD = "/etc/carrel/adopted/tao/record.json"
TAKE = ("-e", "jupyter_takeover=tao")
BACK = (*TAKE, "-e", "jupyter_takeover_back=true")
ABSENT = ("-e", '{"jupyter_instances": [{"name": "tao-lab", "state": "absent"}]}')

UNIT = """[Unit]
Description=Docker Application Container Engine (Rootless)
[Service]
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/usr/share/docker.io/contrib/dockerd-rootless.sh
ExecReload=/bin/kill -s HUP $MAINPID
Delegate=yes
Type=notify
NotifyAccess=all
KillMode=mixed
Restart=always
[Install]
WantedBy=default.target
"""
COMPOSE = """services:
  jupyterlab:
    image: registry.carrel.test:5000/carrel/lab:${TAG:-latest}
    container_name: ${CONTAINER_NAME:-lbsn-jupyterlab}
    restart: "no"
    ports: ["127.0.0.1:${JUPYTER_WEBPORT:-8888}:8888"]
    volumes: ["${JUPYTER_NOTEBOOKS}:/home/jovyan/work", "${CONDA_ENVS}:/envs"]
    environment: [JUPYTER_WEBURL, JUPYTER_PASSWORD, COLLABORATIVE, GENERATE_TOKEN]
    networks: [lbsn-network]
networks:
  lbsn-network: {name: "${NETWORK_NAME:-lbsn-network}", external: true}
"""
OVERRIDE = """services:
  jupyterlab:
    environment: [JUPYTER_AUTOSHUTDOWN_TIMEOUT=0]
"""
DOTENV = f"""TAG=carto
JUPYTER_PASSWORD='{PASSWORD.replace("'", chr(92) + "'")}'
JUPYTER_NOTEBOOKS={HOME}/notebooks
JUPYTER_WEBPORT={BEHIND}
JUPYTER_WEBURL=https://localhost/
CONDA_ENVS={HOME}/envs
"""
RESET = f"""#!/bin/bash
if [ "$(id -u)" -eq 0 ]; then
    exec sudo -H -u tao $0 "$@"
fi
export DOCKER_HOST=unix:///run/user/$(id -u)/docker.sock
docker compose -f {HOME}/jupyterlab/docker-compose.yml down
docker compose -f {HOME}/jupyterlab/docker-compose.yml up -d
"""
VHOST = f"""<VirtualHost *:443>
  ServerName localhost
  SSLEngine on
  SSLCertificateFile /etc/ssl/site.crt
  SSLCertificateKeyFile /etc/ssl/site.key
  RewriteEngine On
  RewriteCond %{{HTTP:Connection}} Upgrade [NC]
  RewriteCond %{{HTTP:Upgrade}} websocket [NC]
  RewriteRule /(.*) ws://localhost:{BEHIND}/$1 [P,L]
  ProxyPass / http://localhost:{BEHIND}/
  ProxyPassReverse / http://localhost:{BEHIND}/
</VirtualHost>
"""
PACKAGES = "docker.io docker-cli docker-compose rootlesskit uidmap slirp4netns iproute2 iptables apache2 cron sudo"
BY_HAND = f"""set -e
systemctl mask --quiet docker.service docker.socket
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends {PACKAGES} > /dev/null
useradd --create-home --home-dir {HOME} --shell /bin/bash tao
loginctl enable-linger tao
until test -S /run/user/$(id -u tao)/bus; do sleep 0.2; done
a2enmod -q ssl rewrite proxy proxy_http proxy_wstunnel
ln -s ../sites-available/tao.conf {SITE}
systemctl restart apache2
"""
START = """set -e
export XDG_RUNTIME_DIR=/run/user/$(id -u) DOCKER_HOST=unix:///run/user/$(id -u)/docker.sock
systemctl --user daemon-reload
systemctl --user enable --quiet --now docker
mkdir -p notebooks envs
docker network create lbsn-network
docker compose --project-directory jupyterlab up --detach --quiet-pull"""


def write(path: str, text: str, mode: str = "644", owner: str = "root") -> None:
    run_on(HOST, "install", "-D", "-m", mode, "-o", owner, "/dev/stdin", path, input_text=text)


def as_tao(command: str) -> str:
    return run_on(HOST, "su", "-", "tao", "-c", command)


def set_up_by_hand() -> None:
    write("/etc/apache2/sites-available/tao.conf", VHOST)
    run_on(HOST, "sh", "-c", BY_HAND)
    write(JOB, RESET, "755")
    as_tao("mkdir -p jupyterlab .config/systemd/user")
    for name, text in {
        "jupyterlab/docker-compose.yml": COMPOSE,
        "jupyterlab/docker-compose.override.yml": OVERRIDE,
        "jupyterlab/.env": DOTENV,
        ".config/systemd/user/docker.service": UNIT,
    }.items():
        write(f"{HOME}/{name}", text, owner="tao")
    as_tao(START)


def person() -> Lab:
    return Lab(f"https://localhost:{OUTER}/", str(pki.CA))


def logged_in() -> bool:
    with contextlib.suppress(requests.RequestException, LoginError), person() as lab:
        lab.login(PASSWORD)
        return True
    return False


def there(*paths: str) -> list[str]:
    return run_on(HOST, "sh", "-c", f"ls -d {' '.join(paths)} 2>/dev/null || true").split()


def inode(path: str) -> str:
    return run_on(HOST, "stat", "--format", "%i", path)


@dataclass
class Inventory:
    """What the playbook adopt writes, with the host beside it."""

    folder: Path

    def command(self, playbook: str, *arguments: str) -> list[str]:
        return ["ansible-playbook", "-i", str(self.folder), f"playbooks/{playbook}.yml", *arguments]

    def play(self, playbook: str, *arguments: str) -> Playbook:
        return run_playbook(self.command(playbook, *arguments))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    testbed.down("adopt")  # what a run that was killed has left
    try:
        testbed.up("adopt", [f"{HOST}={OUTER}:443"])
        set_up_by_hand()
        until(logged_in, "people can log in to the lab that was set up by hand")
        yield written(tmp_path_factory.mktemp("inventory"), HOST)
    finally:
        testbed.down("adopt")


def written(folder: Path, host: str) -> Inventory:
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {host: testbed_hosts.variables()}}}))
    return Inventory(folder)


def test_adopt_writes_the_inventory(inventory: Inventory) -> None:
    with person().login(PASSWORD) as lab:
        lab.put("mine.txt", "mine")
    run = inventory.play("adopt", "-e", f"jupyter_adopt_directory={inventory.folder}")
    assert run.code == 0 and "word}}" not in run.output


def test_what_is_not_right_is_refused_while_the_lab_runs(inventory: Inventory) -> None:
    for arguments, words in {
        (): "say which accounts and hubs: -e jupyter_takeover=NAME,NAME. Nothing was touched.",
        ("-e", "jupyter_takeover=geo"): "geo is in jupyter_adopted of no host: write what carrel.jupyter.adopt wrote",
        (*TAKE, *ABSENT): "jupyter_instances has no lab tao-lab on the engine tao: declare it",
        BACK: None,
    }.items():
        run = inventory.play("takeover", *arguments)
        assert run.changed == 0
        if words:
            assert run.code != 0 and words in " ".join(run.output.split())
        else:
            assert run.code == 0  # nothing to give back
    check = inventory.play("takeover", *TAKE, "--check", "--diff")
    assert check.code == 0 and f"-{HOME}/notebooks\n" in check.output and f"+{NEW}\n" in check.output
    assert logged_in() and there(JOB, SITE, f"{HOME}/notebooks", RECORD) == [SITE, JOB, f"{HOME}/notebooks"]


def test_a_takeover_that_was_killed_is_completed(inventory: Inventory) -> None:
    notebooks = inode(f"{HOME}/notebooks")
    command = inventory.command("takeover", *TAKE)
    with subprocess.Popen(command, cwd=ROOT, env=plain(), stdout=subprocess.DEVNULL) as playbook:
        until(lambda: there(RECORD), "the takeover has begun")
        run_on(HOST, "pkill", "-9", "-u", "root", "-x", "python3")
        assert playbook.wait() != 0
    assert there(f"{HOME}/notebooks")
    run = inventory.play("takeover", *TAKE)
    assert run.code == 0 and "tao-lab is down until you run carrel.jupyter.site" in run.output
    assert not there(JOB, SITE, f"{HOME}/notebooks") and inode(NEW) == notebooks


def test_the_site_playbook_runs_the_lab_with_all_that_it_had(inventory: Inventory) -> None:
    run = inventory.play("site")
    assert run.code == 0
    with person().login(PASSWORD) as lab:
        assert lab.get("mine.txt") == "mine"
        assert lab.run("print(open('/home/jovyan/work/mine.txt').read())").strip() == "mine"
        lab.put("later.txt", "later")
    assert "carrel-reset tao-lab" in run_on(HOST, "cat", "/etc/cron.daily/carrel-tao-lab")
    containers = as_tao("docker ps --all --format '{{.Names}}'").split()
    assert containers and "lbsn-jupyterlab" not in containers
    for playbook in (("takeover", *TAKE), ("site",)):
        again = inventory.play(*playbook)
        assert (again.code, again.changed) == (0, 0)


def test_the_way_back_brings_what_people_wrote_since(inventory: Inventory) -> None:
    notebooks = inode(NEW)
    refused = inventory.play("takeover", *BACK)
    assert refused.code != 0 and "the engine of tao still has tao-lab: write state: absent" in refused.output
    assert inventory.play("site", *ABSENT).code == 0
    check = inventory.play("takeover", *BACK, "--check", "--diff")
    assert check.code == 0 and f"+{HOME}/notebooks\n" in check.output
    assert inventory.play("takeover", *BACK).code == 0
    until(logged_in, "people can log in to the lab that was set up by hand")
    with person().login(PASSWORD) as lab:
        assert (lab.get("mine.txt"), lab.get("later.txt")) == ("mine", "later")
    assert inode(f"{HOME}/notebooks") == notebooks
    assert there(JOB, SITE, RECORD, "/srv/tao-lab") == [SITE, JOB]
    run_on(HOST, JOB)
    until(logged_in, "the old job starts the lab again")


def test_what_was_given_back_can_be_taken_over_again(inventory: Inventory) -> None:
    run = inventory.play("takeover", *TAKE, "--check")
    assert run.code == 0 and run.changed == 1
