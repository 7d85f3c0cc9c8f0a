# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub on the outer engine, from files as the role writes them: the real hub, proxy, spawner and users' servers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub import SERVER_CONFIG

from testbed.hub_client import Hub
from testbed.patience import SOON, until
from testbed.run import ROOT, run, succeeds

HOME = "/home/jovyan/work"
ESSENTIAL: dict[str, Any] = {
    "version": 1, "command": ["jupyterhub-singleuser"], "home": HOME, "volumes": [], "mounts": [], "environment": {},
    "limits": {"memory": None, "swap": None, "cpus": None, "pids": None, "gpus": None},
    "devices": [], "gpu_devices": [], "controllers": ["cpu", "memory", "pids"],
    "host_config": {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]},
    "authenticator": {"type": "native", "signup": False}, "normalize_usernames": False,
    "culler": {"idle_seconds": 3600, "max_age_seconds": 0, "every_seconds": 300}, "shutdown_on_logout": False,
    "default_url": "/lab", "concurrent_spawns": 20, "active_servers": 0, "spawn_timeout_seconds": 60,
    "http_timeout_seconds": 60, "notice_html": None, "database": {"type": "sqlite"},
    "extra_config": [], "services": [], "backups": False, "provider_groups": [],
    "user_domains": False, "sharing": False, "egress": None, "group_egress": {}, "group_servers": {},
}  # fmt: skip


def _ports() -> Iterator[int]:
    """None twice, none that another worker of pytest-xdist chooses, and none that the kernel gives to a connection."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % 12 * 1000
    yield from filter(_is_free, random.sample(range(first, first + 1000), 1000))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return True
    return False


PORTS = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 that is still free when a server starts."""
    return next(PORTS)


def person(name: str, **more: Any) -> dict[str, Any]:
    return {"identity": name, "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None, **more}


class HubSite:
    """Its files in a folder, its containers named after it. Change what it has, then `write` or `replace_hub`."""

    def __init__(self, folder: Path, name: str, images: tuple[str, str], base_url: str = "/", **config: Any) -> None:
        self.folder, self.name = folder, name
        self.hub_image, lab_image = images
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{base_url}"
        self.config = {
            **ESSENTIAL, "name": name, "url": self.url, "base_url": base_url, "network": f"{name}_users",
            "images": [{"title": "Lab", "image": lab_image}], **config,
        }  # fmt: skip
        file, target = SERVER_CONFIG
        self.config["mounts"] = [
            *self.config["mounts"], {"source": f"{folder}/hub/{file}", "target": target, "read_only": True},
        ]  # fmt: skip
        self.secrets = {
            "cookie_secret": secrets.token_hex(32), "proxy_token": secrets.token_hex(16), "dummy_password": None,
            "metrics_token": secrets.token_hex(16), "reset_token": secrets.token_hex(16),
            "database_password": None, "client_secret": None,
        }  # fmt: skip
        self.people: dict[str, dict[str, Any]] = {}
        self.blocked: list[str] = []
        self.provider_groups: dict[str, list[str]] = {}
        self.passwords: dict[str, str] = {}
        self.mounts: dict[str, Any] = {
            "version": 1, "everyone": [], "admins": [], "groups": {},
            "user": [{"source": f"{folder}/users/{{username}}/home", "target": HOME}],
        }  # fmt: skip
        for part in ("hub", "state", "users"):
            (folder / part).mkdir()
        shutil.copyfile(ROOT / "roles" / "hub" / "files" / "server" / file, folder / "hub" / file)

    def write(self) -> None:
        groups = {name: group["members"] + group["admins"] for name, group in self.mounts["groups"].items()}
        roster = {
            "version": 1, "users": self.people, "blocked": self.blocked, "groups": groups,
            "provider_groups": self.provider_groups,
        }  # fmt: skip
        for file, content in (
            ("config", self.config), ("secrets", self.secrets), ("roster", roster), ("passwords", self.passwords),
            ("mounts", self.mounts),
        ):  # fmt: skip
            path = self.folder / "hub" / f"{file}.json"
            # replaced, as the role does
            new = path.with_suffix(".new")
            new.write_text(json.dumps(content))
            new.chmod(0o600)
            new.replace(path)
        for name in self.people:
            home = self.folder / "users" / escape(name) / "home"
            if not home.exists():
                home.mkdir(parents=True)
                os.chown(home, 1000, 100)

    def up(self, *extra: str) -> None:
        self.write()
        run("docker", "network", "create", f"{self.name}_users")
        self.start_proxy()
        self.start_hub(*extra)

    def start_proxy(self) -> None:
        run(
            "docker", "run", "--detach", "--name", f"{self.name}-proxy", "--network", f"{self.name}_users",
            "--network-alias", "proxy", "--publish", f"127.0.0.1:{self.port}:8000",
            "--label", f"com.docker.compose.project={self.name}", "--label", "com.docker.compose.service=proxy",
            "--env", f"CONFIGPROXY_AUTH_TOKEN={self.secrets['proxy_token']}",
            "--env", f"CARREL_BASE_URL={self.config['base_url']}",
            "--env", f"CARREL_NETWORK={self.name}_users", self.hub_image, "proxy",
            *(["--host-routing"] if self.config["user_domains"] else []),
        )  # fmt: skip

    def start_hub(self, *extra: str) -> None:
        run(
            "docker", "run", "--detach", "--name", f"{self.name}-hub", "--network", f"{self.name}_users",
            "--network-alias", "hub", "--volume", f"{self.folder}/hub:/etc/carrel/hub:ro",
            "--volume", f"{self.folder}/state:/srv/jupyterhub",
            "--volume", "/var/run/docker.sock:/var/run/docker.sock", *extra, self.hub_image, "hub",
        )  # fmt: skip
        self.wait()

    def wait(self) -> None:
        def answers() -> bool:
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{self.url}hub/health", timeout=SOON).status_code == 200
            return False

        until(answers, lambda: f"the hub answers:\n{self.log()}")

    def replace_hub(self) -> None:
        """What a change of config.json brings about."""
        self.write()
        run("docker", "rm", "--force", f"{self.name}-hub")
        self.start_hub()

    def replace_proxy(self) -> None:
        run("docker", "rm", "--force", f"{self.name}-proxy")
        self.start_proxy()

    def log(self) -> str:
        return run("docker", "logs", f"{self.name}-hub", check=False)

    def in_hub(self, *command: str, check: bool = True) -> str:
        return run("docker", "exec", f"{self.name}-hub", *command, check=check)

    def session(self) -> Hub:
        return Hub(self.url)

    def container(self, user: str) -> str:
        return f"{self.name}_{escape(user)}"

    def runs(self, user: str) -> bool:
        return succeeds("docker", "container", "inspect", self.container(user))

    def down(self) -> None:
        of_users = ["--quiet", "--filter", f"label=carrel.instance={self.name}"]
        mine = run("docker", "ps", "--all", "--quiet", "--filter", f"network={self.name}_users").split()
        mine += run("docker", "ps", "--all", *of_users).split()
        stopped = [f"{self.name}-hub", f"{self.name}-proxy"]
        run("docker", "rm", "--force", "--volumes", *mine, *stopped, check=False)
        networks = run("docker", "network", "ls", *of_users).split()
        run("docker", "network", "rm", *networks, f"{self.name}_users", check=False)
        volumes = run("docker", "volume", "ls", "--quiet", "--filter", f"name={self.name}_").split()
        if volumes:
            run("docker", "volume", "rm", *volumes)
