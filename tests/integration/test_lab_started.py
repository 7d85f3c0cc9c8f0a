# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in a lab's container finds servers of both generations that let in others than the declared people."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_runner import run
from test_module_server_config import Site, python, serve

from testbed.patience import PATIENCE
from testbed.run import ROOT

__all__ = ["python"]  # a fixture
SCRIPTS = ROOT / "roles" / "lab" / "files"
# By the names of each generation: what takes password and token away, and what sets a token.
NOBODY_ASKED = {
    "1": ("--ServerApp.token=''", "--ServerApp.password=''"),
    "2": ("--IdentityProvider.token=", "--PasswordIdentityProvider.hashed_password="),
}
OWN_TOKEN = {"1": "--ServerApp.token=everybody-knows", "2": "--IdentityProvider.token=everybody-knows"}
ANYBODY = """
from jupyter_server.auth.identity import PasswordIdentityProvider, User
class Anybody(PasswordIdentityProvider):
    def get_user(self, handler):
        return User("anybody")
"""


def configure(folder: Path, credentials: dict[str, str]) -> Path:
    path = folder / "server" / "jupyter_server_config.json"
    settings = {"ServerApp": {"base_url": "/tao/", "root_dir": str(folder)}}
    ids = {"owner": os.getuid(), "group": os.getgid()}
    assert run("server_config", {"path": str(path), "settings": settings, **ids, **credentials}).get("changed")
    for script in SCRIPTS.glob("*.py"):
        (path.parent / script.name).write_bytes(script.read_bytes())
    return path


def ask(python: Path, site: Site, folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, folder / "server" / script, "/tao/", *arguments, str(site.port)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("credentials", [{"password": "right"}, {"token": "the-declared-one"}])
def test_a_server_as_declared_is_accepted_without_log_lines(
    python: Path, tmp_path: Path, credentials: dict[str, str]
) -> None:
    with serve(python, str(configure(tmp_path, credentials)), tmp_path) as site:
        before = (tmp_path / "server.log").read_text()
        healthy = ask(python, site, tmp_path, "healthcheck.py")
        assert healthy.returncode == 0 and healthy.stdout.startswith("jupyter_server "), healthy
        assert (tmp_path / "server.log").read_text() == before
        started = ask(python, site, tmp_path, "started.py", str(tmp_path))
        assert started.returncode == 0, started
        elsewhere = ask(python, site, tmp_path, "started.py", "/elsewhere")
        assert elsewhere.returncode == 1 and f"the server shows {tmp_path}" in elsewhere.stderr


def generation(python: Path) -> str:
    code = "import jupyter_server; print(jupyter_server.__version__)"
    return subprocess.run([python, "-c", code], text=True, capture_output=True, check=True).stdout[0]


def check_found(python: Path, folder: Path, credentials: dict[str, str], *options: str) -> None:
    with serve(python, str(configure(folder, credentials)), folder, options=options) as site:
        for script in ("healthcheck.py",), ("started.py", str(folder)):
            found = ask(python, site, folder, *script)
            assert found.returncode == 3 and "lets in anybody who does not log in" in found.stdout, found


@pytest.mark.parametrize("credentials", [{"password": "right"}, {"token": "the-declared-one"}])
def test_an_open_server_is_found(python: Path, tmp_path: Path, credentials: dict[str, str]) -> None:
    check_found(python, tmp_path, credentials, *NOBODY_ASKED[generation(python)])


def test_a_server_whose_own_class_lets_in_anybody_is_found(python: Path, tmp_path: Path) -> None:
    if generation(python) == "1":
        pytest.skip("1.x has no such class")
    (tmp_path / "anybody.py").write_text(ANYBODY)
    check_found(python, tmp_path, {"password": "right"}, "--ServerApp.identity_provider_class=anybody.Anybody")


@pytest.mark.parametrize("credentials", [{"password": "right"}, {"token": "the-declared-one"}])
def test_a_token_of_the_images_own_is_found(python: Path, tmp_path: Path, credentials: dict[str, str]) -> None:
    config = str(configure(tmp_path, credentials))
    with serve(python, config, tmp_path, options=(OWN_TOKEN[generation(python)],)) as site:
        found = ask(python, site, tmp_path, "started.py", str(tmp_path))
    assert found.returncode == 1 and "another token than the declared one" in found.stderr, found
