# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab on the outer engine: from an entry of the inventory, by the modules that the role lab calls, with compose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import module_runner
from ansible_collections.carrel.jupyter.plugins.action.plan import ControlFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._site import compose as _compose
from ansible_collections.carrel.jupyter.plugins.module_utils._site import lab as _lab
from hub_site import free_port
from reset_site import compose_plugin

from testbed.client import Lab
from testbed.run import ROOT, run

SOCKET = "/var/run/docker.sock"
SERVICE = "lab-1"
# An engine that root runs maps no ids: those in the container are those on the host.
IDS = {"start": 1, "count": 65536}
ENGINE = {"uid": 0, "gid": 0, "subuid": IDS, "subgid": IDS, "controllers": []}
# engines before 25, such as Debian 12's, refuse start_interval
OLD_ENGINE = f"services: {{{SERVICE}: {{healthcheck: {{interval: 1s, start_interval: !reset null}}}}}}\n"
FILES = ["compose.yaml", "login/compose.yaml", "engine.yaml"]


class LabSite:
    """Use it as a context manager: it runs then. DIRECTORY is the instance's, KEYS are its entry's."""

    def __init__(self, directory: Path, name: str, **keys: Any) -> None:
        entry = {"name": name, "url": f"https://example.org/{name}/", "tls": "selfsigned", **keys}
        problems = Problems()
        plan = make_plan(Inputs(instances=[entry]), ControlFiles(str(directory)), problems)
        assert plan, problems.items
        further = {"directory": str(directory), "port": free_port(), "second_port": free_port()}
        self.instance: dict[str, Any] = {**plan["lab_instances"][0], **further}
        self.directory = directory
        self.image = module("lab_image_info", image=self.instance["image"], socket=SOCKET)
        self.container = ""

    def write(self) -> None:
        """Do what the role's tasks/deploy.yml does before the start."""
        instance, root = self.instance, str(self.directory)
        project = _lab.project(instance, ENGINE, {**self.image, "image": instance["image"]})
        page = {"path": f"{root}/login", **instance["login"]}
        module("login_template", image=instance["image"], socket=SOCKET, user=instance["user"], **page)
        module("install_files", directories=project["directories"])
        config = module(
            "server_config", path=f"{root}/server/jupyter_server_config.json", settings=project["settings"],
            password=instance["password"], token=instance["token"], token_file=f"{root}/token",
            cookie_secret_file=f"{root}/server/cookie_secret",
            owner=project["server_owner"], group=project["server_group"],
        )  # fmt: skip
        programs = [*(ROOT / "roles/lab/files").glob("*.py"), ROOT / "plugins/module_utils/_shared/log_tokens.py"]
        texts = {f"server/{path.name}": path.read_text() for path in programs}
        overrides = "labconfig/default_setting_overrides.json"
        texts[f"server/{overrides}"] = (ROOT / "roles/lab/files" / overrides).read_text()
        texts[".env"] = _compose.dotenv(project["environment"])
        texts["compose.yaml"] = json.dumps(_lab.labelled(project, config["checksum"]))
        texts["engine.yaml"] = OLD_ENGINE
        module("install_files", files=[{"path": f"{root}/{path}", "content": text} for path, text in texts.items()])

    def compose(self, *command: str) -> str:
        files = [f"--file={self.directory}/{name}" for name in FILES]
        return run("env", f"DOCKER_CONFIG={compose_plugin()}", "docker", "compose", *files, *command)

    def up(self) -> None:
        self.write()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "60", SERVICE)
        (self.container,) = self.compose("ps", "--quiet", SERVICE).split()

    def __enter__(self) -> LabSite:
        try:
            self.up()
        except BaseException:
            print(self.compose("logs"), self.compose("ps", "--all"))
            self.__exit__()
            raise
        return self

    def __exit__(self, *_unused: object) -> None:
        self.compose("down", "--timeout", "1", "--volumes")

    def lab(self) -> Lab:
        return Lab(f"http://127.0.0.1:{self.instance['port']}{self.instance['base_url']}")


def module(name: str, **arguments: Any) -> dict[str, Any]:
    answer = module_runner.run(name, {key: value for key, value in arguments.items() if value is not None})
    assert not answer.get("failed"), answer
    return answer
