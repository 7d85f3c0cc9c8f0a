# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in a lab's container finds servers of both generations that let in others than the declared people."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_runner import run
from test_module_server_config import Site, python, serve

from testbed.patience import PATIENCE
from testbed.run import ROOT

__all__ = ["python"]  # a fixture
SCRIPTS = ROOT / "roles" / "lab" / "files"
LOG_TOKENS = ROOT / "plugins" / "module_utils" / "_shared" / "log_tokens.py"
KNOWN = "everybody knows"
KNOWN_HASH = "sha1:0123456789ab:" + hashlib.sha1(f"{KNOWN}0123456789ab".encode()).hexdigest()
# What images do in their command, in variables, or in a file: take password and token away, or set ones that they know.
# 2.x passes over an empty option of the names that 1.x has.
OPEN = {
    "1": ("--ServerApp.token=", "--ServerApp.password="),
    "2": ("--IdentityProvider.token=", "--PasswordIdentityProvider.hashed_password="),
}
OWN_TOKEN = ("--ServerApp.token=everybody-knows",)
OWN_PASSWORD = (f"--ServerApp.password={KNOWN_HASH}",)
OWN_BOTH = (
    "--IdentityProvider.token=everybody-knows", f"--PasswordIdentityProvider.hashed_password={KNOWN_HASH}",
)  # fmt: skip
# In the server's working directory, whose configuration goes before all directories of JUPYTER_CONFIG_PATH.
FILE = f"""
for name in ("ServerApp", "IdentityProvider", "PasswordIdentityProvider"):
    c[name].token = "everybody-knows"
c.ServerApp.password = c.PasswordIdentityProvider.hashed_password = {KNOWN_HASH!r}
c.ServerApp.allow_password_change = c.PasswordIdentityProvider.allow_password_change = True
"""
# The server's own classes, as if the role's were not there, and what takes password and token away from them.
ITS_OWN = {
    "1": ("--ServerApp.login_handler_class=jupyter_server.auth.login.LoginHandler",),
    "2": ("--ServerApp.identity_provider_class=jupyter_server.auth.identity.PasswordIdentityProvider",),
}
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
    for script in (*SCRIPTS.glob("*.py"), LOG_TOKENS):
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
    check_found(python, tmp_path, credentials, *ITS_OWN[generation(python)], *OPEN[generation(python)])


def test_a_server_whose_own_class_lets_in_anybody_is_found(python: Path, tmp_path: Path) -> None:
    if generation(python) == "1":
        pytest.skip("1.x has no such class")
    (tmp_path / "anybody.py").write_text(ANYBODY)
    check_found(python, tmp_path, {"password": "right"}, "--ServerApp.identity_provider_class=anybody.Anybody")


@pytest.mark.parametrize(
    ("command", "says"), [(OWN_TOKEN, "another token than"), (OWN_PASSWORD, "does not accept only the")]
)
def test_a_secret_of_the_images_own_is_found(python: Path, tmp_path: Path, command: tuple[str, ...], says: str) -> None:
    """Of a server with a class of its own."""
    config = str(configure(tmp_path, {"password": "right"}))
    with serve(python, config, tmp_path, options=(*ITS_OWN[generation(python)], *command)) as site:
        found = ask(python, site, tmp_path, "started.py", str(tmp_path))
    assert found.returncode == 1 and says in found.stderr, found


@pytest.mark.parametrize(
    ("command", "credentials"),
    [
        (OPEN, {"password": "right"}),
        (OWN_TOKEN + OWN_PASSWORD, {"token": "the-declared-one"}),
        (OWN_BOTH, {"password": "right"}),
        ((), {"token": "the-declared-one"}),
    ],
    ids=["open", "own", "own-2", "file"],
)
def test_what_is_declared_opens_a_server_and_nothing_else_does(
    python: Path, tmp_path: Path, command: Sequence[str] | dict[str, Sequence[str]], credentials: dict[str, str]
) -> None:
    if isinstance(command, dict):
        command = command[generation(python)]
    if command == OWN_BOTH and generation(python) == "1":
        pytest.skip("1.x does not know these names")
    if not command:
        (tmp_path / "jupyter_server_config.py").write_text(FILE)
    with serve(python, str(configure(tmp_path, credentials)), tmp_path, options=tuple(command)) as site:
        (declared,) = credentials.values()
        assert site.login(declared) == 200
        assert site.token(declared) == (200 if "token" in credentials else 403)
        for wrong in (KNOWN, KNOWN_HASH, "everybody-knows", "from-the-image", ""):
            assert (site.login(wrong), site.token(wrong)) == (401, 403)
        for script in ("healthcheck.py",), ("started.py", str(tmp_path)):
            found = ask(python, site, tmp_path, *script)
            assert found.returncode == 0, found
