# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab on the outer engine, from files as the role writes them, and the reset program that runs as root."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from hub_site import free_port
from module_runner import open_to_all

from testbed import images
from testbed.patience import PATIENCE
from testbed.run import ROOT, run, succeeds

PREFIX = "/opt/conda/envs/jupyter_env"
PYTHON = f"{PREFIX}/bin/python"
NOTEBOOKS = "/home/jovyan/work"
PLUGINS = ROOT / ".cache" / "docker"
COMPOSE = "/usr/libexec/docker/cli-plugins/docker-compose"
LAB_FILES = ROOT / "roles" / "lab" / "files"
PROGRAM = """
import sys
from carrel_reset import run, settings
from carrel_reset.__main__ import main
settings.FOLDER = sys.argv[1]
run.LOOK_EVERY_SECONDS = 1
sys.exit(main(sys.argv[2:]))
"""
# A server in a tenth of a second, where what is tested is not Jupyter: /api, /login, and /api/status with the token.
QUICK = """
import http.server, json, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
token = json.load(open("/etc/carrel/jupyter_server_config.json"))["ServerApp"]["token"]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/tao/")
        allowed = path != "api/status" or self.headers["Authorization"] == "token " + token
        pages = {"api": '{"version": "2"}', "api/status": "{}", "login": '<form><input type="password"></form>'}
        self.send_response((200 if path in pages else 404) if allowed else 403)
        self.end_headers()
        self.wfile.write(pages.get(path, "").encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8888), Handler).serve_forever()
"""


def compose_plugin() -> Path:
    """The compose of the test bed's image, for engines that have none, as Debian 12's: the folder for DOCKER_CONFIG."""
    plugin = PLUGINS / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        plugin.parent.mkdir(parents=True, exist_ok=True)
        container = run("docker", "create", images.build("compose", parent=images.base()), "true")
        fresh = f"{plugin}.{os.getpid()}"
        run("docker", "cp", f"{container}:{COMPOSE}", fresh)
        run("docker", "rm", container)
        os.replace(fresh, plugin)
    return PLUGINS


@dataclasses.dataclass
class Reset:
    code: int
    output: str
    state: dict[str, Any]


class LabSite:
    """Its files in a folder, its containers named after it."""

    def __init__(self, folder: Path, quick: bool = True, **settings: Any) -> None:
        self.folder = open_to_all(folder)
        self.name = f"reset-{secrets.token_hex(3)}"
        self.tag = f"carrel-testbed/{self.name}:1"
        self.image = os.environ["CARREL_TEST_LAB_IMAGE"]
        self.quick = quick
        self.state_directory = folder / "var" / "reset"
        self.settings = {
            "version": 1, "name": self.name, "kind": "lab", "engine": "root", "directory": str(folder),
            "url": "http://127.0.0.1:9/tao/", "base_url": "/tao/", "ports": [free_port(), free_port()],
            "images": [self.tag], "notebooks": NOTEBOOKS,
            "at": None, "timezone": None, "spread_minutes": 0, "pull": False,
            "pull_timeout_seconds": 60, "people": "wait", "deadline_seconds": 60, "notice_seconds": 0,
            "drain_seconds": 0,
            "start_timeout_seconds": 40, "rotate_token": False, "token_file": str(folder / "token"), "prune_days": 0,
            "before": None, "after": None, "command_seconds": 300, "smoke_seconds": 0,
            "account": "root", "socket": "/var/run/docker.sock", "state_directory": str(self.state_directory),
            "compose_files": [str(folder / "compose.yaml")], "lead_seconds": 0, **settings,
        }  # fmt: skip
        self.home = folder / "data" / "notebooks"
        run("docker", "tag", self.image, self.tag)
        for path in (self.state_directory, self.home / "deep", folder / "server", folder / "settings"):
            path.mkdir(parents=True)
        (self.home / "a.ipynb").write_text("{}")
        (self.home / "deep" / "data.bin").write_bytes(os.urandom(100_000))
        (self.home / "link").symlink_to("a.ipynb")
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, 1000, 100, follow_symlinks=False)
        self.write()

    def write(self) -> None:
        token = secrets.token_hex(24)
        config = {
            "ServerApp": {
                "base_url": "/tao/", "ip": "0.0.0.0", "token": token, "password": "", "root_dir": NOTEBOOKS,
                "allow_remote_access": True, "cookie_secret_file": "/etc/carrel/cookie_secret", "port": 8888,
            },
            "IdentityProvider": {"token": token},
        }  # fmt: skip
        (self.folder / "token").write_text(token + "\n")
        server = self.folder / "server"
        (server / "jupyter_server_config.json").write_text(json.dumps(config))
        (server / "cookie_secret").write_text(secrets.token_hex(32))
        for path in server.iterdir():
            os.chown(path, 1000, 100)
            path.chmod(0o400)
        (server / "quick.py").write_text(QUICK)
        for path in (*LAB_FILES.glob("*.py"), ROOT / "plugins" / "module_utils" / "_shared" / "log_tokens.py"):
            (server / path.name).write_bytes(path.read_bytes())
        if self.quick:
            (server / "activity.py").write_text("""print('{"kernels": [], "terminals": []}')""")
        check = ["CMD", PYTHON, "/etc/carrel/healthcheck.py", "/tao/"]
        service = {
            "image": self.tag, "pull_policy": "never", "restart": "unless-stopped", "stop_grace_period": "2s",
            "environment": {"JUPYTER_CONFIG_PATH": "/etc/carrel"}, "labels": {"carrel.python": PYTHON},
            "volumes": [f"{self.home}:{NOTEBOOKS}", f"{server}:/etc/carrel:ro"],
            "healthcheck": {"test": check, "interval": "1s", "timeout": "10s", "retries": 3, "start_period": "60s"},
        }  # fmt: skip
        if self.quick:
            service["command"] = [PYTHON, "/etc/carrel/quick.py"]
        services = {
            f"lab-{number}": {**service, "ports": [f"127.0.0.1:{port}:8888"]}
            for number, port in enumerate(self.settings["ports"], 1)
        }
        (self.folder / "compose.yaml").write_text(json.dumps({"name": self.name, "services": services}))
        (self.folder / ".env").write_text("COMPOSE_PROJECT_NAME=other\n")  # compose must not use it

    def environment(self, path: str | None = None) -> dict[str, str]:
        return {
            "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"], "HOME": "/root",
            "DOCKER_CONFIG": str(compose_plugin()), "PYTHONPATH": str(ROOT / "roles" / "reset" / "files"),
        }  # fmt: skip

    def start(self, *arguments: str, path: str | None = None) -> subprocess.Popen[str]:
        (self.folder / "settings" / f"{self.name}.json").write_text(json.dumps(self.settings))
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.folder / "settings"), self.name, *arguments],
            env=self.environment(path), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def reset(self, *arguments: str, path: str | None = None) -> Reset:
        process = self.start(*arguments, path=path)
        output, _unused = process.communicate(timeout=PATIENCE)
        return Reset(process.returncode, output, self.state())

    def state(self) -> dict[str, Any]:
        file = self.state_directory / "state.json"
        content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return content

    def asked(self) -> int:
        return 2 if (self.state_directory / "second").exists() else 1

    @property
    def url(self) -> str:
        """Of the server that Apache would ask."""
        return f"http://127.0.0.1:{self.settings['ports'][self.asked() - 1]}/tao/"

    def containers(self) -> dict[str, str]:
        """Service: id."""
        form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        label = f"label=com.docker.compose.project={self.name}"
        lines = run("docker", "ps", "--all", "--no-trunc", "--filter", label, "--format", form).splitlines()
        return dict(line.split() for line in lines)

    def homes(self) -> str:
        """A digest of everything in them."""
        digest = hashlib.sha256()
        for path in sorted(self.home.rglob("*")):
            status = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            digest.update(repr((str(path), status.st_mode, status.st_uid, status.st_gid, content)).encode())
        return digest.hexdigest()

    def remove(self) -> None:
        ids = list(self.containers().values())
        if ids:
            run("docker", "rm", "--force", *ids)
        succeeds("docker", "network", "rm", f"{self.name}_default")
        succeeds("docker", "image", "rm", self.tag)
