# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that the last release set up, with people at work, takes this version, and goes back.

All tests look at one upgrade, in the order in which they stand here; the last one ends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION, order

from testbed import __main__ as testbed
from testbed import hosts, pki, release
from testbed.client import Lab, LoginError
from testbed.hub_client import Hub
from testbed.load import Load
from testbed.patience import PATIENCE, until
from testbed.run import run
from tests.e2e.conftest import ROOT, Playbook, Site, ansible_playbook, answers, plain, reset, run_on

HOST = "carrel-upgrade-1"
# Not while the tests run.
RESET_AT = f"{datetime.now(timezone.utc) + timedelta(hours=12):%H:%M}"
IMAGE = "registry.carrel.test:5000/carrel/lab:1.0"
LAB: dict[str, Any] = {
    "name": "tao", "kind": "lab", "url": "https://localhost:8467/", "image": IMAGE,
    "reset": {"at": RESET_AT, "drain_seconds": 2}, "login": {"notice": "Tao"},
}  # fmt: skip
HUB: dict[str, Any] = {
    "name": "class", "kind": "hub", "url": "https://localhost:8468/", "image": IMAGE,
    "authenticator": {"type": "native"}, "reset": {"at": RESET_AT},
    "users": [
        {"name": "prof", "admin": True, "password": "professor of statistics"},
        {"name": "ada", "password": "the first password of ada"},
    ],
    "groups": {"statistics": {"members": ["ada"], "admins": ["prof"]}},
}  # fmt: skip
TAO, CLASS = Site(HOST, LAB), Site(HOST, HUB)
OWN = "a password of ada's own"
# A release whose labs get new containers says so in its changelog, with these words.
NEW_CONTAINERS = "Labs get new containers"
# What the roles write, without what people, accounts, cron, and modules for themselves do.
WRITTEN = (
    "find /etc /srv/tao /srv/class /usr/local /var/lib/carrel -xdev "
    "\\( -path '/srv/*/data' -o -path '/var/lib/carrel/*/reset' -o -name disk.json "
    "-o -name image.json -o -name made_anew.json -o -name __pycache__ \\) -prune "
    "-o -type f -printf '%m %U:%G ' -exec sha256sum {} \\;"
)
PEOPLES = (
    "cd /srv/$0/data && find . \\( -path ./hub -o -name .ipynb_checkpoints \\) -prune -o -printf '%m %U:%G %s %l ' "
    "\\( -type f -exec sha256sum {} \\; -o -printf '- %p\\n' \\)"
)


@dataclass
class Upgrade:
    """What was there before, what the runs said, and the people who are still at work."""

    old: Release
    lab: Lab
    hub: Hub
    ada: Lab
    kernels: dict[str, str]
    written: dict[str, str]
    peoples: dict[str, list[str]]
    containers: dict[str, str]
    plan: Playbook
    check: Playbook
    site: Playbook
    load: Load
    after: dict[str, str]


@dataclass
class Release:
    """The last release, installed in a folder of its own."""

    version: str
    folder: Path

    def play(self, playbook: str, *arguments: str) -> Playbook:
        environment = {**plain(), "ANSIBLE_COLLECTIONS_PATH": str(self.folder)}
        # It leads to this checkout.
        environment.pop("PYTHONPATH", None)
        return ansible_playbook(
            self.folder, variables(), f"carrel.jupyter.{playbook}", *arguments, environment=environment
        )


def variables() -> dict[str, Any]:
    return {HOST: {**hosts.variables(), "jupyter_instances": [LAB, HUB]}}


def written() -> dict[str, str]:
    """Mode, owner and digest of each file."""
    lines = run_on(HOST, "sh", "-c", WRITTEN).splitlines()
    return {path: seen for seen, path in (line.split("  ", 1) for line in lines)}


def peoples(site: Site) -> list[str]:
    """Everything that people keep: modes, owners, sizes, links, content."""
    return sorted(run_on(HOST, "sh", "-c", PEOPLES, site.name).splitlines())


def containers() -> dict[str, str]:
    return {
        name: site.started(name)
        for site, names in ((TAO, [TAO.container_name()]), (CLASS, ["class-hub-1", "class-proxy-1", "class_ada"]))
        for name in names
    }


def record(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_on(HOST, "cat", f"/var/lib/carrel/{site.name}/instance.json"))
    return found


def news(old: str) -> str:
    """The changelog since the last release."""
    fragments = [path.read_text() for path in (ROOT / "changelogs" / "fragments").glob("*.yml")]
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    return "\n".join(fragments + [str(changes) for version, changes in releases.items() if order(version) > order(old)])


def announced(output: str) -> set[str]:
    """The files and folders whose differences `--diff` showed."""
    return set(re.findall(r"^--- before: (/\S+)$", output, re.MULTILINE))


def within(path: str, paths: set[str]) -> bool:
    return any(path == known or path.startswith(known + "/") for known in paths)


@pytest.fixture(scope="module")
def host() -> Iterator[None]:
    testbed.down("upgrade")  # what a run that was killed has left has this version already
    try:
        testbed.up("upgrade", [f"{HOST}=8467,8468"])
        yield
    finally:
        testbed.down("upgrade")


@pytest.fixture(scope="module")
def old(host: None, tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("release")
    version, tarball = release.build_last(ROOT, folder)
    run("ansible-galaxy", "collection", "install", "--no-deps", "--collections-path", folder, tarball)
    installed = Release(version, folder)
    assert installed.play("site").code == 0
    assert record(TAO)["collection"] == record(CLASS)["collection"] == version
    return installed


@pytest.fixture(scope="module")
def upgrade(old: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    folder = tmp_path_factory.mktemp("new")
    with Lab(TAO.url, str(pki.CA)) as lab, Hub(CLASS.url, str(pki.CA)).login("ada", "the first password of ada") as hub:
        lab.login(TAO.secret)
        hub.change_password("the first password of ada", OWN)
        with hub.spawn() as ada:
            kernels = {}
            for name, at in (("lab", lab), ("ada", ada)):
                kernel = at.kernel()
                kernel.run("x = 41; import os; open('kept.py', 'w').write('kept'); os.chmod('kept.py', 0o750)")
                kernel.socket.close()
                kernels[name] = kernel.identifier
            before = {"written": written(), "peoples": {site.name: peoples(site) for site in (TAO, CLASS)}}
            was = containers()
            plan = ansible_playbook(folder, variables(), "playbooks/plan.yml")
            check = ansible_playbook(folder, variables(), "playbooks/site.yml", "--check", "--diff")
            assert written() == before["written"], "neither touches anything"
            cookies = dict(lab.http.cookies)
            with Load(TAO.url + "api/status", str(pki.CA), cookies, per_second=2, timeout_seconds=PATIENCE) as load:
                site = ansible_playbook(folder, variables(), "playbooks/site.yml")
            yield Upgrade(
                old=old, lab=lab, hub=hub, ada=ada, kernels=kernels, **before, containers=was, plan=plan, check=check,
                site=site, load=load, after=written(),
            )  # fmt: skip


def test_the_runs_succeed(upgrade: Upgrade) -> None:
    assert (upgrade.plan.code, upgrade.check.code, upgrade.site.code) == (0, 0, 0)
    # Where a release inspects images in another way, the plan cannot say more than that.
    differs = " ".join(upgrade.plan.output.partition("Show what differs")[2].split())
    for site in (TAO, CLASS):
        assert re.search(rf"{site.name}: (?!as declared)", differs)


def test_check_mode_said_what_the_run_did(upgrade: Upgrade) -> None:
    paths = upgrade.written.keys() | upgrade.after.keys()
    differ = {path for path in paths if upgrade.written.get(path) != upgrade.after.get(path)}
    said = announced(upgrade.check.output)
    assert [path for path in sorted(differ) if not within(path, said)] == [], "all of them were announced"
    assert [path for path in sorted(said) if not any(within(it, {path}) for it in differ)] == [], "nothing else was"


def test_a_second_run_changes_nothing(upgrade: Upgrade, tmp_path: Path) -> None:
    second = ansible_playbook(tmp_path, variables(), "playbooks/site.yml")
    assert (second.code, second.changed) == (0, 0)


def test_nobody_is_thrown_out(upgrade: Upgrade) -> None:
    assert upgrade.lab.request("GET", "api/status", allow_redirects=False).status_code == 200
    assert upgrade.ada.request("GET", "api/status", allow_redirects=False).status_code == 200
    assert upgrade.hub.request("GET", "api/user", allow_redirects=False).json()["name"] == "ada"
    assert upgrade.load.failures == [], "the lab answered all the time"


def test_kernels_live_on(upgrade: Upgrade) -> None:
    now = containers()
    assert now["class_ada"] == upgrade.containers["class_ada"], "users' servers are left alone"
    with_kernels = [(upgrade.ada, "ada")]
    if now.get(TAO.container_name()) == upgrade.containers.get(TAO.container_name()):
        with_kernels.append((upgrade.lab, "lab"))
    else:
        assert NEW_CONTAINERS in news(upgrade.old.version), "the changelog says so"
        assert upgrade.lab.run("print(open('kept.py').read())").strip() == "kept"
    for at, name in with_kernels:
        kernel = at.connect(upgrade.kernels[name])
        assert kernel.run("print(x + 1)").strip() == "42"
        kernel.socket.close()


def test_what_people_wrote_is_as_it_was(upgrade: Upgrade) -> None:
    assert {site.name: peoples(site) for site in (TAO, CLASS)} == upgrade.peoples
    assert any(line.startswith("750 ") and line.endswith("kept.py") for line in upgrade.peoples["tao"])


def test_first_passwords_and_changed_ones_count(upgrade: Upgrade) -> None:
    for user, password in (("prof", "professor of statistics"), ("ada", OWN)):
        Hub(CLASS.url, str(pki.CA)).login(user, password).http.close()
    with pytest.raises(LoginError):
        Hub(CLASS.url, str(pki.CA)).login("ada", "the first password of ada")


def test_secrets_ports_and_ids_are_the_same(upgrade: Upgrade) -> None:
    for path in (
        "/srv/tao/token", "/srv/tao/server/cookie_secret", "/srv/class/hub/secrets.json",
        "/etc/carrel/ports.json", "/etc/subuid", "/etc/subgid", "/etc/passwd",
    ):  # fmt: skip
        assert upgrade.after[path] == upgrade.written[path], path
    # This version gives it to root.
    before, after = (seen["/srv/class/proxy.env"].split()[-1] for seen in (upgrade.written, upgrade.after))
    assert before == after


def test_what_is_deployed_has_this_version(upgrade: Upgrade) -> None:
    assert record(TAO)["collection"] == record(CLASS)["collection"] == VERSION


def test_a_reset_by_the_new_program(upgrade: Upgrade) -> None:
    code, output = reset(TAO, "--people", "ignore", "--no-pull", "--no-notice")
    assert code == 0, output
    assert upgrade.lab.run("print(open('kept.py').read())").strip() == "kept", "the cookies still count"


def test_the_way_back(upgrade: Upgrade) -> None:
    before = written()
    refused = upgrade.old.play("site")
    assert refused.code != 0 and "jupyter_allow_downgrade" in refused.output
    assert written() == before
    allowed = upgrade.old.play("site", "--extra-vars", '{"jupyter_allow_downgrade": true}')
    assert allowed.code == 0
    assert record(TAO)["collection"] == record(CLASS)["collection"] == upgrade.old.version
    until(lambda: answers(TAO) and answers(CLASS), "lab and hub answer")
    assert upgrade.lab.run("print(open('kept.py').read())").strip() == "kept"
    with Hub(CLASS.url, str(pki.CA)).login("ada", OWN) as again:
        kernel = again.lab().connect(upgrade.kernels["ada"])
        assert kernel.run("print(x + 1)").strip() == "42"
        kernel.socket.close()
        again.stop()
