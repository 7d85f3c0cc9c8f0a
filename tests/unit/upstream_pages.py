# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""jupyter_server's own login pages, from its wheels, and the programme that renders them."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

from ansible_collections.carrel.jupyter.plugins.module_utils._host import image_probe

WHEELS = Path(__file__).parents[2] / ".cache" / "wheels"
VERSIONS = ["1.0.11", "1.24.0", "2.0.1", "latest"]


@functools.cache
def templates(version: str) -> Path:
    """The templates folder of a jupyter_server, unpacked."""
    unpacked = WHEELS / f"jupyter_server-{version}"
    if version == "latest" or not unpacked.is_dir():
        requirement = "jupyter_server" + ("" if version == "latest" else f"=={version}")
        folder = WHEELS / version
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        subprocess.run(download, check=True)
        newest = max(folder.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
        with zipfile.ZipFile(newest) as wheel:
            wheel.extractall(unpacked)
    return unpacked / "jupyter_server" / "templates"


def page(version: str) -> str:
    return (templates(version) / "login.html").read_text()


def render(version: str, text: str, message: str = "None") -> dict[str, object]:
    """What RENDER answers, run in this process so that a property can be tried many times. MESSAGE is Python's."""
    job = json.dumps({"template": str(templates(version) / "login.html"), "text": text})
    output = io.StringIO()
    with mock.patch.object(sys, "stdin", io.StringIO(job)), contextlib.redirect_stdout(output):
        exec(compile(image_probe.RENDER.replace("message=None", f"message={message}"), "RENDER", "exec"), {})
    (answer,) = image_probe.marked(output.getvalue())
    return answer
