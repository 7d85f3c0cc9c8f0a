# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's images in the outer engine, once for the same content, and run containers of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import requests

from testbed import images
from testbed.client import Lab
from testbed.patience import PATIENCE, SOON, until
from testbed.run import ROOT, run

TOKEN = "e2b9c1"
# bcrypt of "secret" for ada, as htpasswd -B writes it
HTPASSWD = "ada:$2y$05$ngZrAleTslbqvyXwW3qsM.R/67hDtcDBMPwx7MBo2pRPIaZWZKLmm\n"


def lab_image(**args: str) -> str:
    """Build images/lab, with the machine's extra CA certificates."""
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(ROOT / "images" / "lab", context, ignore=shutil.ignore_patterns("__pycache__"))
        images.add_certificates(context / "certificates")
        return images.build_context("own-lab", context, {"BASE_IMAGE": images.base(), **args})


def build_files(name: str, files: Mapping[str, bytes], **args: str) -> str:
    """Build from the files of a context."""
    with tempfile.TemporaryDirectory() as context:
        for path, content in files.items():
            (Path(context) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(context) / path).write_bytes(content)
        return images.build_context(name, Path(context), args)


def inside(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Run a command in a container of an image; return what it printed, whether it failed or not."""
    return run("docker", "run", "--rm", "--pull", "never", *options, image, *command, check=False)


@contextlib.contextmanager
def server(image: str, *options: str, scheme: str = "http", seconds: float = PATIENCE) -> Iterator[tuple[str, Lab]]:
    """Run a container of an image until its server answers; yield the container's name and a session at it."""
    name = run("docker", "run", "--detach", "--pull", "never", "--publish", "127.0.0.1::8888",
               "--env", f"JUPYTER_TOKEN={TOKEN}", *options, image)[:12]  # fmt: skip
    try:
        port = run("docker", "port", name, "8888/tcp").rsplit(":", 1)[1]
        with Lab(f"{scheme}://127.0.0.1:{port}/", verify=False) as lab:
            lab.http.headers["Authorization"] = f"token {TOKEN}"
            wait(lab, name, seconds)
            lab.http.get(lab.url + "lab")  # for the XSRF cookie
            yield name, lab
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


def wait(lab: Lab, name: str, seconds: float) -> None:
    def answers() -> bool:
        with contextlib.suppress(requests.RequestException):
            return lab.http.get(lab.url + "api/status", timeout=SOON).ok
        return False

    until(answers, lambda: f"the server answers:\n{run('docker', 'logs', name)[-2000:]}", seconds, pause=0.05)


@contextlib.contextmanager
def password_registry(folder: Path) -> Iterator[str]:
    """Run a registry that ada's password `secret` opens; yield its address."""
    (folder / "htpasswd").write_text(HTPASSWD)
    config = {
        "version": "0.1", "log": {"level": "warn"}, "storage": {"filesystem": {"rootdirectory": "/tmp/registry"}},
        "http": {"addr": ":5000"}, "auth": {"htpasswd": {"realm": "test", "path": "/etc/registry/htpasswd"}},
    }  # fmt: skip
    (folder / "config.yml").write_text(json.dumps(config))
    with registry(
        "docker-registry", "serve", "/etc/registry/config.yml", options=["--volume", f"{folder}:/etc/registry:ro"]
    ) as address:
        yield address


@contextlib.contextmanager
def registry(*command: str, options: Sequence[str] = ()) -> Iterator[str]:
    """Run a command in the registry's image until it listens; yield its address."""
    image = images.build("registry", parent=images.base())
    name = run("docker", "run", "--detach", "--publish", "127.0.0.1::5000", *options, image, *command)
    try:
        address = run("docker", "port", name, "5000/tcp")

        def listens() -> bool:
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"http://{address}/v2/", timeout=SOON).status_code in (200, 401)
            return False

        until(listens, lambda: f"the registry listens:\n{run('docker', 'logs', name)[-2000:]}")
        yield address
    finally:
        run("docker", "rm", "--force", "--volumes", name)
