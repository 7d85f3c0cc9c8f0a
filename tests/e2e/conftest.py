# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end-to-end tests know of the hosts: the inventory as Ansible sees it, and a way to run playbooks."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from xdist.scheduler import LoadScopeScheduling

from testbed import pki
from testbed.client import Lab
from testbed.hub_client import Hub
from testbed.patience import SOON, until

ROOT = Path(__file__).resolve().parent.parent.parent
INVENTORY = ROOT / "molecule" / "default" / "inventory" / "hosts.yml"


@functools.cache
def hostvars() -> dict[str, dict[str, Any]]:
    """Variables of every test host, templated where the tests need it."""
    listing = subprocess.run(
        ["ansible-inventory", "-i", INVENTORY, "--list"], cwd=ROOT, capture_output=True, check=True
    )
    variables: dict[str, dict[str, Any]] = json.loads(listing.stdout)["_meta"]["hostvars"]
    return variables


def plain() -> dict[str, str]:
    """The environment without the colours that molecule forces on."""
    return {name: value for name, value in os.environ.items() if name != "ANSIBLE_FORCE_COLOR"}


def run_on(host: str, *command: str, check: bool = True, input_text: str | None = None) -> str:
    """Run a command as root on a test host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", host, *command],
        input=input_text,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{command} on {host} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Site:
    """An instance of the test inventory."""

    host: str
    declared: dict[str, Any]
    ca: str = field(default=str(pki.CA))

    @property
    def name(self) -> str:
        return str(self.declared["name"])

    @property
    def url(self) -> str:
        url = str(self.declared["url"])
        return url if url.endswith("/") else url + "/"

    @property
    def api(self) -> str:
        """A path that answers without a log-in."""
        return "hub/api/" if self.declared.get("kind") == "hub" else "api"

    @property
    def secret(self) -> str:
        """What a person types on the login page: the password, else the token."""
        if "password" in self.declared:
            return str(self.declared["password"])
        return run_on(self.host, "cat", self.token_file).strip()

    @property
    def token_file(self) -> str:
        return str(self.declared.get("token_file", f"/srv/{self.name}/token"))

    def lab(self, **options: Any) -> Lab:
        return Lab(self.url, self.ca, **options)

    def container_name(self) -> str:
        """The lab's server that Apache asks."""
        second = run_on(self.host, "sh", "-c", f"test -e /var/lib/carrel/{self.name}/reset/second && echo 2 || echo 1")
        return f"{self.name}-lab-{second.strip()}-1"

    def container(self, *command: str) -> str:
        """Run a command in the lab's container, as the account of its engine."""
        return self.docker("exec", self.container_name(), *command)

    def started(self, *containers: str, check: bool = True) -> str:
        """Id and start of containers, a line each: another one, or a restart, makes a difference."""
        return self.docker("inspect", "--format", "'{{.Id}} {{.State.StartedAt}}'", *containers, check=check).strip()

    def docker(self, *arguments: str, check: bool = True) -> str:
        account = str(self.declared.get("engine", self.name))
        return run_on(self.host, "su", "-", account, "-c", " ".join(["docker", *arguments]), check=check)


@functools.cache
def instances() -> dict[str, Site]:
    found = {}
    for host, variables in hostvars().items():
        for declared in variables["jupyter_instances"]:
            found[declared["name"]] = Site(host, declared)
    return found


@functools.cache
def sites() -> dict[str, Site]:
    """The labs."""
    return {name: site for name, site in instances().items() if site.declared.get("kind", "lab") == "lab"}


def hub_site() -> Site:
    return instances()["class"]


def passwords() -> dict[str, str]:
    """Of the hub's users, as the inventory has them."""
    return {user["name"]: user["password"] for user in hub_site().declared["users"]}


@pytest.fixture(scope="session")
def hub() -> Site:
    return hub_site()


@pytest.fixture
def tao() -> Site:
    return sites()["tao"]


@pytest.fixture
def atlas() -> Site:
    return sites()["atlas"]


@pytest.fixture
def geo() -> Site:
    return sites()["geo"]


def enter(hub: Site, user: str, password: str | None = None) -> Hub:
    """Log in to the hub, with the inventory's password unless another is given."""
    return Hub(hub.url, hub.ca).login(user, password or passwords()[user])


@contextlib.contextmanager
def visit(hub: Site, user: str) -> Iterator[Hub]:
    """Log in to the hub; no server is there before and after, even if a test fails."""
    with enter(hub, user) as session:
        session.stop()
        try:
            yield session
        finally:
            session.stop()


def reset(site: Site, *arguments: str) -> tuple[int, str]:
    """Run carrel-reset as root at a terminal; return its exit code and what it printed."""
    done = subprocess.run(
        ["docker", "exec", "--tty", site.host, "carrel-reset", site.name, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout)
    return done.returncode, done.stdout


def answers(site: Site) -> bool:
    try:
        return requests.get(site.url + site.api, verify=site.ca, timeout=SOON).status_code == 200
    except requests.RequestException:
        return False


class ByHost(LoadScopeScheduling):
    """With pytest-xdist, one worker runs all tests of a host, since they change its instances.

    It knows a test by its id, in whose parameters a host or an instance stands; otherwise it is the first host's. The
    marks of `--dist loadgroup` do not arrive with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        words = nodeid.partition("[")[2]
        hosts = {name: name for name in hostvars()} | {name: site.host for name, site in instances().items()}
        return max((host for word, host in hosts.items() if re.search(rf"\b{word}\b", words)), default=min(hostvars()))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByHost:
    return ByHost(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        names = list(sites())
        metafunc.parametrize("site", [sites()[name] for name in names], ids=names)
    for_fixtures = {"hub": hub_site(), **instances()}
    hosts = [for_fixtures[name].host for name in metafunc.fixturenames if name in for_fixtures]
    if hosts:
        metafunc.parametrize("at", [max(hosts)], indirect=True)


@pytest.fixture(autouse=True)
def at(request: pytest.FixtureRequest) -> str | None:
    """The host of the instances that a test has as fixtures; in its id for ByHost."""
    return getattr(request, "param", None)


@pytest.fixture(scope="session", autouse=True)
def certificates(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trust the self-signed certificates of the sites that have one."""
    for site in sites().values():
        tls = hostvars()[site.host].get("jupyter_tls")
        if tls == "selfsigned":
            path = tmp_path_factory.mktemp("certificates") / f"{site.name}.crt"
            path.write_text(run_on(site.host, "sh", "-c", "cat /etc/ssl/carrel/localhost*.crt"))
            site.ca = str(path)
    for site in instances().values():
        # the hosts were just rebooted
        until(functools.partial(answers, site), f"{site.url} comes back by itself")


@dataclass
class Playbook:
    """The output of a run of ansible-playbook."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(line.split("changed=")[1].split()[0]) for line in self.output.splitlines() if "changed=" in line)


def inventory(folder: Path, hosts: dict[str, Any]) -> Path:
    """Write an inventory of hosts with these variables into the folder."""
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    return path


def ansible_playbook(
    folder: Path,
    hosts: dict[str, Any],
    playbook: str | Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
) -> Playbook:
    """Run a playbook on hosts with these variables; their inventory is written into the folder."""
    return run_playbook(["ansible-playbook", "-i", inventory(folder, hosts), playbook, *arguments], environment)


def run_playbook(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Playbook:
    """Run a command of Ansible in the checkout, and print what it says."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment or plain(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    print(done.stdout)
    return Playbook(done.returncode, done.stdout)


Play = Callable[..., Playbook]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Run a playbook on the test inventory with one host's instances changed by a function."""

    def run(
        host: str,
        change: Callable[[list[dict[str, Any]]], None] = lambda instances: None,
        *arguments: str,
        playbook: str = "playbooks/site.yml",
        **variables: Any,
    ) -> Playbook:
        mine = copy.deepcopy(hostvars()[host])
        change(mine["jupyter_instances"])
        mine.update(variables)
        return ansible_playbook(tmp_path, {host: mine}, playbook, *arguments)

    yield run
