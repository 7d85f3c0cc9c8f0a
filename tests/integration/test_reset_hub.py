# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""carrel-reset on a real hub in a compose project, with users at work and away."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hub_image
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub as _hub
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_smoke
from hub_site import HOME, HubSite, person
from module_runner import open_to_all

from testbed import images as testbed_images
from testbed.client import Lab
from testbed.hub_client import Hub
from testbed.patience import PATIENCE, until
from testbed.run import ROOT, run

USERS = ("u-0", "ada@uni.example", "ä")
KNOWS_ITS_VERSION_ALONE = """\
RUN program=$(command -v jupyterhub-singleuser) && mv $program $program.real \\
 && printf '#!/bin/sh\\n[ "$1" = --version ] && exec %s.real "$@"\\nexit 1\\n' $program > $program && chmod +x $program
"""
PROGRAM = """\
import sys
sys.path.insert(0, {package!r})
from carrel_reset import settings
settings.FOLDER = {folder!r}
from carrel_reset.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
# A kill -9 by itself when it has stopped a server and would start it again.
KILL = """\
import os, signal
from carrel_reset import hub
hub.Hub._start = lambda *unused: os.kill(os.getpid(), signal.SIGKILL)
"""


class ResetSite(HubSite):
    """A hub as the role's compose project, and the program as the role installs it."""

    def __init__(self, folder: Path, name: str, images: tuple[str, str]) -> None:
        super().__init__(folder, name, (images[0], f"{name}/lab:1"), base_url="/class/")
        self.lab_image, self.tag = images[1], f"{name}/lab:1"
        self.people = {user: person(user) for user in USERS}
        self.config["authenticator"] = {"type": "dummy"}
        self.secrets["dummy_password"] = "secret"
        for part in ("data/hub", "reset", "settings", "docker/cli-plugins", "package"):
            (folder / part).mkdir(parents=True)
        package = folder / "package" / "carrel_reset"
        shutil.copytree(ROOT / "roles/reset/files/carrel_reset", package)
        shutil.copy(ROOT / "roles/lab/files/notice.py", package)
        (folder / "program.py").write_text(PROGRAM.format(package=str(package.parent), folder=str(folder / "settings")))
        install_compose(folder / "docker" / "cli-plugins")
        self.environment = {**os.environ, "DOCKER_CONFIG": str(folder / "docker")}

    def up(self) -> None:
        run("docker", "tag", self.lab_image, self.tag)
        self.write()
        instance = {
            "name": self.name, "directory": str(self.folder), "port": self.port, "base_url": "/class/",
            "database": {"type": "sqlite"}, "start_timeout_seconds": 60, "backups": False,
            "user_domains": False,
        }  # fmt: skip
        project = _hub.compose(instance, {"socket": "/var/run/docker.sock", "controllers": []}, self.hub_image)
        for service in project["services"].values():
            # Docker 20.10 knows no start_interval
            service["healthcheck"] = {**service["healthcheck"], "interval": "1s"}
            del service["healthcheck"]["start_interval"]
        (self.folder / "compose.yaml").write_text(json.dumps(project))
        (self.folder / "proxy.env").write_text(f"CONFIGPROXY_AUTH_TOKEN={self.secrets['proxy_token']}\n")
        (self.folder / "instance.json").write_text(json.dumps({"state": "present"}))
        self.compose("up", "--detach", "--wait")
        self.wait()

    def down(self) -> None:
        super().down()
        self.compose("down")
        run("docker", "image", "rm", "--force", self.tag, check=False)

    def compose(self, *arguments: str) -> str:
        command = ["docker", "compose", "--project-directory", str(self.folder), *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def settings(self, **changes: Any) -> None:
        content = {
            "version": 1, "name": self.name, "kind": "hub", "engine": "root", "directory": str(self.folder),
            "url": self.url, "base_url": "/class/", "ports": [self.port], "images": [self.tag], "notebooks": HOME,
            "at": None, "timezone": None, "spread_minutes": 0, "pull": False, "pull_timeout_seconds": 60,
            "people": "wait", "deadline_seconds": 600, "notice_seconds": 0, "drain_seconds": 0,
            "start_timeout_seconds": 60, "rotate_token": False, "token_file": None, "prune_days": 0,
            "before": None, "after": None, "command_seconds": 300, "smoke_seconds": 0, "account": "root",
            "socket": "/var/run/docker.sock", "state_directory": str(self.folder / "reset"),
            "compose_files": [str(self.folder / "compose.yaml")], "lead_seconds": 0, **changes,
        }  # fmt: skip
        (self.folder / "settings" / f"{self.name}.json").write_text(json.dumps(content))

    def smoke(self, *cells: str) -> None:
        """Write what the role writes for a hub with a notebook of these cells."""
        made = [{"number": number, "source": source, "raises": False} for number, source in enumerate(cells, 1)]
        limits = {"memory": 2**30, "pids": 500}
        instance = {
            "name": self.name, "directory": str(self.folder), "home": HOME, "persist": {}, "environment": {},
            "images": [{"title": "Lab", "image": self.tag}], "command": self.config["command"], "sudo": None,
            "devices": [], "limits": limits, "server_settings": {"ServerApp": {"max_body_size": 1000}},
            "smoke": [{"name": "check.ipynb", "kernel": None, "cells": made, "images": [0]}],
            "smoke_timeout_seconds": 60, "spawn_timeout_seconds": 60, "http_timeout_seconds": 30,
        }  # fmt: skip
        of_labs = ("smoke", "activity", "kernel_client")
        names = ("hub/files/server/trial.py", *(f"lab/files/{name}.py" for name in of_labs))
        programs = {Path(name).name: (ROOT / "roles" / name).read_text() for name in names}
        python = run("docker", "run", "--rm", "--entrypoint", "sh", self.lab_image, "-c", "command -v python3").strip()
        facts, owner = [{"uid": 1000, "gid": 100, "python": python}], {"uid": 1000, "gid": 100}
        engine = {"gid": 0, "controllers": ["memory", "pids"]}
        wanted = hub_smoke.files(instance, engine, owner, facts, programs)
        (self.folder / "smoke").mkdir(exist_ok=True)
        for file in wanted["files"]:
            Path(file["path"]).write_text(file.get("content") or wanted["secret_contents"][file["path"]])

    def begin(self, **changes: Any) -> subprocess.Popen[str]:
        self.settings(**changes)
        command = [sys.executable, str(self.folder / "program.py"), self.name]
        return subprocess.Popen(command, env=self.environment, text=True, stderr=subprocess.PIPE)

    def reset(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Reset and return the exit code and what the state file says."""
        return self.end(self.begin(**changes))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
        print(process.communicate(timeout=PATIENCE)[1])
        return process.returncode, self.state()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "reset" / "state.json").read_text())
        return found

    def container_ids(self) -> dict[str, str]:
        """Of each user; empty for those who have none."""
        listed = run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Names}} {{.ID}}")
        found = dict(line.split() for line in listed.splitlines())
        return {user: found.get(self.container(user), "") for user in USERS}

    def image_of(self, user: str) -> str:
        return run("docker", "inspect", "--format", "{{.Image}}", self.container(user)).strip()

    def inside(self, user: str, command: str, uid: int = 1000) -> str:
        """Root has no power over others' files there, as its capabilities are dropped."""
        return run("docker", "exec", f"--user={uid}", self.container(user), "sh", "-c", command)


def install_compose(folder: Path) -> None:
    container = run("docker", "create", testbed_images.build("compose", parent=testbed_images.base())).strip()
    try:
        run("docker", "cp", f"{container}:/usr/libexec/docker/cli-plugins/docker-compose", folder / "docker-compose")
    finally:
        run("docker", "rm", container)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResetSite]:
    folder = open_to_all(tmp_path_factory.mktemp("reset"))
    site = ResetSite(folder, f"carrel-reset-{os.getpid()}", (hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]))
    try:
        site.up()
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def labs(site: ResetSite) -> Iterator[dict[str, tuple[Hub, Lab]]]:
    """Everybody has logged in."""
    with contextlib.ExitStack() as stack:
        sessions = {user: stack.enter_context(site.session().login(user, "secret")) for user in USERS}
        yield {user: (session, session.spawn()) for user, session in sessions.items()}


def image(site: ResetSite, steps: str) -> str:
    """The tag leads to a new image; return its id."""
    dockerfile = site.folder / "Dockerfile"
    dockerfile.write_text(f"FROM {site.lab_image}\nUSER 0\n{steps}\nUSER 1000:100\n")
    empty = site.folder / "settings"
    run("docker", "build", "--quiet", "--file", dockerfile, "--tag", site.tag, empty)
    return run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag).strip()


def service_id(site: ResetSite, service: str) -> str:
    return run("docker", "inspect", "--format", "{{.Id}}", f"{site.name}-{service}-1").strip()


def config_hashes(site: ResetSite, service: str) -> set[str]:
    """Of the container and of its declaration; if they differ, the next `compose up` recreates the container."""
    label = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
    container = run("docker", "inspect", "--format", label, f"{site.name}-{service}-1")
    return {container.strip(), site.compose("config", "--hash", service).split()[1]}


def test_idle_servers_are_new_and_a_busy_one_when_it_is_idle(site: ResetSite, labs: dict[str, tuple[Hub, Lab]]) -> None:
    busy, *idle = USERS
    before = site.container_ids()
    hub, proxy = service_id(site, "hub"), service_id(site, "proxy")
    labs[busy][1].timeout = PATIENCE
    kernel = labs[busy][1].kernel()
    notice = site.folder / "users" / escape(busy) / "home" / "RESET-NOTICE.txt"
    for user in USERS:
        site.inside(user, "touch /opt/gone", uid=0)
        site.inside(user, f"echo {user} > {HOME}/kept")
    image(site, "RUN touch /opt/new")
    code = "import os, time\nwhile not os.path.exists('enough'): time.sleep(0.1)\nprint('slept')"
    with ThreadPoolExecutor() as pool:
        running = pool.submit(kernel.run, code)
        process = site.begin(notice_seconds=1)
        try:
            until(
                lambda: all(site.container_ids()[user] not in ("", before[user]) for user in idle), "the idle are new"
            )
            assert site.container_ids()[busy] == before[busy] and not running.done()
            assert "is reset now, or once nothing is running" in notice.read_text()
        finally:
            site.inside(busy, f"touch {HOME}/enough")
        assert running.result().strip() == "slept", "through the websocket from before"
    code, state = site.end(process)
    assert (code, state["result"], state["server"], state["warnings"]) == (0, "done", None, [])
    assert service_id(site, "hub") != hub and service_id(site, "proxy") == proxy
    assert len(config_hashes(site, "hub")) == 1, "the next site run leaves it"
    for user, new in site.container_ids().items():
        assert new not in ("", before[user])
        assert site.inside(user, f"ls /opt/new; cat {HOME}/kept").split() == ["/opt/new", user]
        assert "No such file" in site.inside(user, "ls /opt/gone 2>&1 || true")
    with labs[busy][0].lab() as lab:
        assert lab.run("print(6 * 7)").strip() == "42"
    assert state["images"][site.tag]["id"] == site.image_of(busy)
    assert not notice.exists()


def test_people_at_work_are_left_or_cut_off_as_declared(site: ResetSite, labs: dict[str, tuple[Hub, Lab]]) -> None:
    user = USERS[1]
    with labs[user][0].lab() as lab:
        lab.terminal().run("echo at''work", "atwork")
        before = site.container_ids()
        said = site.folder / "said"
        text = f'docker exec "$CARREL_CONTAINER" python3 -c "import jupyterhub" && echo "$CARREL_RESET" > {said}'
        code, state = site.reset(people="skip", after=["sh", "-c", text])
        assert state["commands"] == {"after": "done"} and said.read_text() == "done\n"
        assert code == 0 and any("stay as they are" in text and user in text for text in state["warnings"])
        after = site.container_ids()
        assert [name for name in USERS if before[name] == after[name]] == [user]
        site.compose("stop")
        code, state = site.reset(deadline_seconds=0)
        assert code == 0 and any("the hub does not answer" in text for text in state["warnings"])
        assert any(f"the reset cuts off: {user}" in text for text in state["warnings"])
        assert site.container_ids()[user] != before[user]


def test_a_new_image_that_does_not_serve_goes_back(site: ResetSite, labs: dict[str, tuple[Hub, Lab]]) -> None:
    good = site.image_of(USERS[0])
    before = site.container_ids()
    bad = image(site, KNOWS_ITS_VERSION_ALONE)
    code, state = site.reset(people="ignore")
    assert code == 1 and state["result"] == "failed", state
    assert bad in state["message"] and good in state["message"] and "The instance runs as before" in state["message"]
    after = site.container_ids()
    assert all(after[user] != before[user] for user in USERS), "no home was to blame"
    assert all(site.image_of(user) == good for user in USERS)
    assert all(session.user()["servers"][""]["ready"] for session, _unused in labs.values())
    assert run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag).strip() == good
    before = site.container_ids()
    worse = image(site, "RUN rm $(command -v jupyterhub-singleuser)")
    code, state = site.reset(people="ignore")
    assert code == 1 and worse in state["message"] and "jupyterhub-singleuser" in state["message"], state
    assert site.container_ids() == before, "nobody's server was tried"
    assert run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag).strip() == good
    run("docker", "image", "rm", bad, worse)


def test_a_new_image_in_which_a_notebook_fails_is_given_to_nobody(
    site: ResetSite, labs: dict[str, tuple[Hub, Lab]]
) -> None:
    """Its server starts, with the hub's limits; the trial runs beside the servers, which do not notice."""
    good, before = site.image_of(USERS[0]), site.container_ids()
    library = "python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'"
    bad = image(site, f"RUN echo 'raise ImportError(\"libgeo.so.1: cannot open\")' > $({library})/geo.py")
    site.smoke("import os\nassert os.getuid() == 1000 and os.listdir() == []", "import geo")
    code, state = site.reset(people="ignore", smoke_seconds=60)
    said = "check.ipynb, cell 2: ImportError: libgeo.so.1: cannot open"
    assert code == 1 and said in state["message"] and bad in state["message"], state
    assert state["smoke"].startswith("failed: ") and said in state["smoke"]
    assert site.container_ids() == before, "nobody's server was tried"
    assert run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag).strip() == good
    ends = image(site, KNOWS_ITS_VERSION_ALONE)
    code, state = site.reset(people="ignore", smoke_seconds=60)
    assert code == 1 and ends in state["message"] and "The server has ended" in state["message"], state
    assert site.container_ids() == before
    site.smoke("6 * 7")
    new = image(site, "RUN touch /opt/good")
    code, state = site.reset(people="ignore", smoke_seconds=60)
    assert code == 0 and state["smoke"].startswith("check.ipynb passed in "), state
    assert all(site.image_of(user) == new for user in USERS)
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"label=carrel.smoke={site.name}") == ""


def test_a_server_whose_reset_was_killed_is_started_by_the_next(
    site: ResetSite, labs: dict[str, tuple[Hub, Lab]]
) -> None:
    unfinished = site.folder / "reset" / "unfinished.json"
    program = site.folder / "program.py"
    whole = program.read_text()
    program.write_text(whole.replace("sys.exit", f"{KILL}sys.exit"))
    try:
        code, _unused = site.reset(people="ignore")
    finally:
        program.write_text(whole)
    assert code == -signal.SIGKILL
    # what was asked of the hub goes on
    users = [session.user for session, _unused in labs.values()]
    until(lambda: not any(user()["servers"].get("", {}).get("pending") for user in users), "no server is on its way")
    missing = {user for user, (session, _unused) in labs.items() if not session.user()["servers"]}
    assert missing and missing <= set(json.loads(unfinished.read_text())["users"])
    code, state = site.reset(people="skip")
    assert code == 0 and any("was interrupted at the step stop" in text for text in state["warnings"])
    assert all(session.user()["servers"][""]["ready"] for session, _unused in labs.values())
    assert not unfinished.exists()


def test_a_hub_that_does_not_start_is_reported_as_down(site: ResetSite, labs: dict[str, tuple[Hub, Lab]]) -> None:
    before = site.container_ids()
    site.config["version"] = 99
    site.write()
    code, state = site.reset(start_timeout_seconds=15)
    assert code == 5 and "config.json has version 99" in state["message"], state
    assert site.container_ids() == before
