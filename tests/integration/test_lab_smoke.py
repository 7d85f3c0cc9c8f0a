# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Smoke notebooks in real servers of both generations that have a password alone; test_reset_smoke.py has a token."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_runner import run
from test_lab_started import LOG_TOKENS, SCRIPTS
from test_module_server_config import Site, python, serve

from testbed.patience import PATIENCE
from testbed.run import alone

__all__ = ["python"]  # a fixture
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def with_kernel(python: Path) -> Path:
    prefix = python.parents[1]
    if prefix.name == "2.0.1":
        pytest.skip("the newest and the oldest are enough, because kernels take time")
    with alone(f"server-{prefix.name}"):
        if not (prefix / "kernel").exists():
            subprocess.run([prefix / "bin" / "pip", "install", "--quiet", "ipykernel"], check=True)
            (prefix / "kernel").touch()
    return python


class Lab:
    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        secret, cookie = str(folder / "server" / "cookie_secret"), {"cookie_name": "username-tao"}
        server = {
            "base_url": "/tao/", "root_dir": str(folder), "cookie_secret_file": secret, "tornado_settings": cookie,
        }  # fmt: skip
        answer = run("server_config", {
            "path": str(folder / "server" / "jupyter_server_config.json"), "owner": os.getuid(), "group": os.getgid(),
            "settings": {"ServerApp": server, "IdentityProvider": cookie}, "cookie_secret_file": secret,
            "password": "right",
        })  # fmt: skip
        assert answer.get("changed"), answer
        for script in (*SCRIPTS.glob("*.py"), LOG_TOKENS):
            (folder / "server" / script.name).write_bytes(script.read_bytes())

    def smoke(self, site: Site, notebooks: dict[str, list[Any]], seconds: int = 60) -> tuple[int, str]:
        """Cells are their code, and whether they may raise."""
        entries = [
            {
                "name": name,
                "kernel": None if name != "r.ipynb" else "ir",
                "cells": [
                    {"number": number, "source": code, "raises": False}
                    if isinstance(code, str)
                    else {"number": number, "source": code[0], "raises": True}
                    for number, code in enumerate(cells, 1)
                ],
            }
            for name, cells in notebooks.items()
        ]
        file = self.folder / "server" / "smoke.json"
        file.write_text(json.dumps({"seconds": seconds, "notebooks": entries}))
        done = self.ask(site, "smoke.py")
        return done.returncode, (done.stdout + done.stderr).strip()

    def kernels(self, site: Site) -> Any:
        return json.loads(self.ask(site, "activity.py").stdout)["kernels"]

    def ask(self, site: Site, script: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "other")}
        environment["JUPYTER_CONFIG_PATH"] = str(self.folder / "server")
        command = [self.python, self.folder / "server" / script, "/tao/", str(site.port)]
        return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False)


@pytest.fixture
def lab(with_kernel: Path, tmp_path: Path) -> Iterator[tuple[Lab, Site]]:
    made = Lab(with_kernel, tmp_path)
    with serve(with_kernel, str(tmp_path / "server" / "jupyter_server_config.json"), tmp_path) as site:
        yield made, site


def test_notebooks_run_and_leave_nothing(lab: tuple[Lab, Site], tmp_path: Path) -> None:
    made, site = lab
    good = ["x = 20", "print('y' * 300_000)\nx += 1", ("raise ValueError('as it should')",), "assert x == 21"]
    code, said = made.smoke(site, {"a.ipynb": good, "b.ipynb": ["assert 'x' not in dir()"]})
    assert code == 0 and said.startswith("a.ipynb, b.ipynb passed in "), said
    code, said = made.smoke(site, {"a.ipynb": good, "maps/b.ipynb": ["1", "import no_such_library", "1 / 0"]})
    assert (code, said) == (1, "maps/b.ipynb, cell 2: ModuleNotFoundError: No module named 'no_such_library'")
    code, said = made.smoke(site, {"a.ipynb": ["1", DIES]})
    assert (code, said) == (1, "a.ipynb, cell 2: the kernel died")
    began = time.monotonic()
    code, said = made.smoke(site, {"a.ipynb": ["while True:\n    print('on and on')"]}, seconds=40)
    assert (code, said) == (1, "a.ipynb, cell 1: it does not end in time")
    assert time.monotonic() - began < PATIENCE
    assert made.kernels(site) == [] and not list(tmp_path.glob("**/*.ipynb"))


def test_what_else_fails(lab: tuple[Lab, Site]) -> None:
    made, site = lab
    if made.python.parents[1].name != "latest":
        pytest.skip("what a kernel says does not depend on the server")
    code, said = made.smoke(site, {"a.ipynb": ["raise RuntimeError('one\\n\\n' + 'two ' * 1000)"]})
    assert code == 1 and said.startswith("a.ipynb, cell 1: RuntimeError: one two two") and len(said) < 600, said
    code, said = made.smoke(site, {"a.ipynb": ["input()"]})
    assert code == 1 and "a.ipynb, cell 1: StdinNotImplementedError: " in said, said
    code, said = made.smoke(site, {"r.ipynb": ["1"]})
    assert (code, said) == (1, "r.ipynb: the server has no kernel ir; it has python3")
