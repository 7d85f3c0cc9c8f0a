# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""activity.py and servers of both generations: it gets in with a password alone, and with a token."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from ansible_runner import run
from test_module_server_config import Site, python, serve

from testbed.patience import PATIENCE
from testbed.run import ROOT

__all__ = ["python"]  # a fixture
SCRIPT = ROOT / "roles" / "lab" / "files" / "activity.py"


def configure(folder: Path, **credentials: str) -> Path:
    """Write the server's configuration as the role does."""
    secret = folder / "server" / "cookie_secret"
    path = folder / "server" / "jupyter_server_config.json"
    cookie = {"cookie_name": "username-tao"}
    server = {"base_url": "/tao/", "cookie_secret_file": str(secret), "tornado_settings": cookie}
    answer = run("server_config", {
        "path": str(path), "owner": os.getuid(), "group": os.getgid(),
        "settings": {"ServerApp": server, "IdentityProvider": cookie},
        "cookie_secret_file": str(secret), **credentials,
    })  # fmt: skip
    assert answer.get("changed"), answer
    return path


def activity(python: Path, site: Site, folder: Path) -> subprocess.CompletedProcess[str]:
    # another home than the server's, so that only the configuration tells the secret
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "other"), "JUPYTER_TOKEN": "from-the-image"}
    environment["JUPYTER_CONFIG_PATH"] = str(folder / "server")
    port = site.url.split(":")[2].split("/")[0]
    command = [python, SCRIPT, "/tao/", port]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_password_alone(python: Path, tmp_path: Path) -> None:
    path = configure(tmp_path, password="right")
    with serve(python, str(path), tmp_path) as site:
        assert told(activity(python, site, tmp_path)) == {"kernels": [], "terminals": []}
        secret = tmp_path / "server" / "cookie_secret"
        secret.chmod(0o600)
        secret.write_text(secrets.token_hex(32))
        refused = activity(python, site, tmp_path)
        assert refused.returncode == 1 and "403" in refused.stderr


def test_a_token(python: Path, tmp_path: Path) -> None:
    path = configure(tmp_path, token="t0ken")
    with serve(python, str(path), tmp_path) as site:
        headers = {"Authorization": "token t0ken", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(site.url + "api/terminals", b"{}", headers)) as answer:
            name = json.load(answer)["name"]
        (terminal,) = told(activity(python, site, tmp_path))["terminals"]
        assert terminal["name"] == name and terminal["last_activity"].endswith("Z")
        # also with a cookie secret that the server does not have any more
        (tmp_path / "server" / "cookie_secret").write_text(secrets.token_hex(32))
        assert len(told(activity(python, site, tmp_path))["terminals"]) == 1
