# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""server_settings in real servers: their effect, and the messages for settings that a server refuses."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from ansible_runner import run
from test_module_server_config import python, serve

from testbed.patience import PATIENCE
from testbed.run import ROOT

__all__ = ["python"]  # a fixture
CHECK = (ROOT / "plugins" / "module_utils" / "_host" / "server_check.py").read_text()


def check(python: Path, folder: Path, settings: dict[str, Any], program: str = CHECK) -> dict[str, Any]:
    """As it runs in a container: by the server's Python, without the collection."""
    done = subprocess.run(
        [python, "-c", program], input=json.dumps({"mark": "carrel ", "settings": settings}), text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)},
        capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("carrel ")]
    assert len(lines) == 1, done
    answer: dict[str, Any] = json.loads(lines[0].removeprefix("carrel "))
    return answer


def test_a_server_of_each_generation_says_what_it_knows_and_takes(python: Path, tmp_path: Path) -> None:
    good = {"ServerApp": {"max_body_size": 5, "certfile": ""}, "MappingKernelManager": {"cull_idle_timeout": 3600}}
    answer = check(python, tmp_path, good)
    assert answer["said"] is None and answer["refused"] == []
    assert {"max_body_size", "tornado_settings"} < set(answer["classes"]["ServerApp"])
    # set for a class, it counts for those made of it
    assert "cull_idle_timeout" in answer["classes"]["MultiKernelManager"]
    answer = check(python, tmp_path, {"MappingKernelManager": {"cull_idle_timeout": "1h"}})
    assert answer["said"] is not None
    assert answer["refused"] == [
        [
            "MappingKernelManager",
            "cull_idle_timeout",
            "The 'cull_idle_timeout' trait expected an int, not the str '1h'.",
        ]
    ]


def test_a_server_that_hangs_ends_and_says_so(python: Path, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    short = CHECK.replace("SECONDS = 200", "SECONDS = 3")
    answer = check(python, tmp_path, {"ServerApp": {"contents_manager_class": "hangs.Manager"}}, short)
    assert answer == {"classes": {}, "refused": [], "said": "it is not ready after 3 s"}


def test_they_count_in_the_server_beside_ours(python: Path, tmp_path: Path) -> None:
    path = tmp_path / "server" / "jupyter_server_config.json"
    settings = {"ServerApp": {"base_url": "/tao/", "tornado_settings": {"headers": {"X-Own": "yes"}}}}
    ids = {"owner": os.getuid(), "group": os.getgid()}
    assert run("server_config", {"path": str(path), "settings": settings, **ids, "password": "right"})["changed"]
    with (
        serve(python, str(path), tmp_path) as site,
        urllib.request.urlopen(f"http://127.0.0.1:{site.port}/tao/login", timeout=PATIENCE) as answer,
    ):
        assert answer.headers["X-Own"] == "yes"


def test_an_image_is_asked_before_anything_is_replaced() -> None:
    arguments = {"image": os.environ["CARREL_TEST_LAB_IMAGE"], "socket": "/var/run/docker.sock"}
    good = {"ServerApp": {"max_body_size": 5}, "LabApp": {"news_url": None}}
    assert run("lab_image_info", {**arguments, "server_settings": good})["exists"]
    wrong = {"ServreApp": {"a": 1}, "LabApp": {"news_ulr": None}, "ServerApp": {"port_retires": 1}}
    found = run("lab_image_info", {**arguments, "server_settings": wrong})
    assert found["failed"]
    assert [line.partition(" (image ")[0] for line in found["msg"].splitlines()] == [
        "server_settings.LabApp.news_ulr: LabApp has no trait news_ulr; did you mean news_url?",
        "server_settings.ServerApp.port_retires: ServerApp has no trait port_retires; did you mean port_retries?",
        "server_settings.ServreApp: there is no class ServreApp; did you mean ServerApp?",
    ]
