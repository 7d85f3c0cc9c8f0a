# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs and hubs with images that are not the collection's, and its own: the inventory holds, whatever the image does.

The engine is root's, so that ids are the same on both sides; rootless engines are what tests/e2e is for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_image
import pytest
from hub_site import HubSite, person
from lab_site import LabSite
from module_runner import open_to_all
from own_images import lab_image

from testbed import images
from testbed.client import LoginError
from testbed.run import run

PASSWORD = "right pass $ü'\""
IMAGES_OWN = "the image's own password"
TOKEN = "the-images-own-token"
NOTICE = "Restarts daily at 01:25."
# What people of the Carto-Lab kind have in their .env; the first two are for its compose file and mean nothing in here.
DOTENV = {"JUPYTER_NOTEBOOKS": "/home/ada/notebooks", "CONDA_ENVS": "/home/ada/envs", "GENERATE_TOKEN": "true"}
# What an image may have in its ENV, and an inventory may not.
IMAGES_ENV = {"JUPYTER_PASSWORD": IMAGES_OWN, "JUPYTER_TOKEN": TOKEN}


@dataclass
class Kind:
    image: str
    ids: tuple[int, int]
    prefix: str  # of the kernel python3
    collaboration: bool | None  # not as the image by itself; None where it has none


def kind(name: str) -> Kind:
    if name == "own":
        return Kind(lab_image(), (1000, 100), "/opt/kernels/python", None)
    image = images.build(name, parent=os.environ["CARREL_TEST_LAB_IMAGE"])
    if name == "carto":
        return Kind(image, (0, 0), "/opt/conda/envs/jupyter_env", True)
    return Kind(image, (1000, 100), "/opt/conda", False)


@pytest.fixture(scope="module", params=["stacks", "carto", "own"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kind, LabSite]]:
    chosen = kind(request.param)
    keys: dict[str, Any] = {"image": chosen.image, "password": PASSWORD, "environment": DOTENV}
    keys.update(login={"notice": NOTICE}, collaboration=chosen.collaboration)
    folder = tmp_path_factory.mktemp(request.param)
    site = LabSite(folder, f"compat-{request.param}", **keys)
    site.instance["environment"].update(IMAGES_ENV)
    with site:
        yield chosen, site


def test_it_is_healthy_by_the_roles_check(case: tuple[Kind, LabSite]) -> None:
    container = json.loads(run("docker", "inspect", case[1].container))[0]
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["Config"]["Healthcheck"]["Test"][2] == "/etc/carrel/healthcheck.py"
    assert container["Config"]["Healthcheck"]["Timeout"] == 10 * 10**9


def test_the_inventorys_password_is_the_only_way_in(case: tuple[Kind, LabSite]) -> None:
    site = case[1]
    with site.lab() as lab:
        assert lab.login(PASSWORD).request("GET", "api/contents").json()["type"] == "directory"
    for wrong in IMAGES_OWN, TOKEN, "":
        with site.lab() as lab, pytest.raises(LoginError, match="refused the password"):
            lab.login(wrong)
    with site.lab() as lab:
        assert lab.request("GET", "api/contents", check=False, params={"token": TOKEN}).status_code == 403


def test_the_login_page_has_the_notice(case: tuple[Kind, LabSite]) -> None:
    with case[1].lab() as lab:
        page = lab.http.get(lab.url + "login").text
    assert f"<p>{NOTICE}</p>" in page and 'type="password"' in page


def test_notebooks_are_the_hosts_with_the_right_owner_on_both_sides(case: tuple[Kind, LabSite]) -> None:
    chosen, site = case
    folder = site.directory / "data" / "notebooks"
    (folder / "from-host.txt").write_text("host")
    os.chown(folder / "from-host.txt", *chosen.ids)
    with site.lab().login(PASSWORD) as lab:
        lab.put("from-server.txt", "server")
        assert lab.get("from-host.txt") == "host"
        kernel = lab.kernel()
        kernel.run("import os, sys; os.chdir('/home/jovyan/work')")
        kernel.run("open('from-kernel.txt', 'w').write('kernel'); open('from-host.txt', 'a').write(' and kernel')")
        shown = kernel.run("print(sys.prefix, os.getuid(), os.getgid())").split()
        inside = kernel.run("s = os.stat('from-host.txt'); print((s.st_uid, s.st_gid))").strip()
    assert shown == [chosen.prefix, *map(str, chosen.ids)] and inside == str(chosen.ids)
    assert owners(folder) == {f"from-{name}.txt": chosen.ids for name in ("host", "server", "kernel")}
    assert (folder / "from-host.txt").read_text() == "host and kernel"


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.glob("from-*")}


def test_the_secrets_are_the_servers_alone(case: tuple[Kind, LabSite]) -> None:
    chosen, site = case
    for name in "jupyter_server_config.json", "cookie_secret":
        status = (site.directory / "server" / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (*chosen.ids, 0o400)


def test_collaboration_is_as_declared(case: tuple[Kind, LabSite]) -> None:
    chosen, site = case
    with site.lab().login(PASSWORD) as lab:
        page = lab.request("GET", "lab").text
    config = re.search(r'id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert config
    expected = None if chosen.collaboration is None else not chosen.collaboration
    assert json.loads(config[1]).get("disableRTC") is expected


def test_a_hub_starts_servers_of_docker_stacks_kind(tmp_path: Path) -> None:
    folder = open_to_all(tmp_path)
    pair = hub_image.build(), kind("stacks").image
    site = HubSite(folder, f"compat-hub-{os.getpid()}", pair, command=["start-singleuser.sh"])
    site.people, site.passwords = {"ada": person("ada")}, {"ada": PASSWORD}
    try:
        site.up()
        with site.session().login("ada", PASSWORD) as session, session.spawn() as lab:
            lab.put("from-server.txt", "server")
            assert (
                lab.run("import os; print(os.environ['CONDA_PREFIX'], os.getuid(), os.getgid())")
                == "/opt/conda 1000 100\n"
            )
        assert owners(folder / "users" / "ada" / "home") == {"from-server.txt": (1000, 100)}
    finally:
        site.down()
