# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Size and build time of the lab image and of each kernel, and how fast its server answers.

The server's time is measured against `jupyter lab` of a plain virtual environment with the same pins on this machine,
in turns. As root; packages are downloaded each time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as _image_build
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels

from testbed import engine, hosts, images
from testbed.run import ROOT, run

IMAGE = "carrel-testbed/bench-images"
ROUNDS = 5
PORT = 28888


def build(tag: str, files: Mapping[str, bytes], **args: str) -> float:
    """Build without the layers of earlier builds; return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        began = time.monotonic()
        options = [f"--build-arg={key}={value}" for key, value in args.items()]
        run("docker", "build", "--no-cache", "--tag", tag, *options, folder)
    return round(time.monotonic() - began, 1)


def megabytes(image: str) -> float:
    return round(int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) / 1e6)


def lab_files() -> dict[str, bytes]:
    folder = ROOT / "images" / "lab"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        **files,
        **{f"certificates/{path.name}": path.read_bytes() for path in images.MACHINE_CERTIFICATES.glob("*.crt")},
    }


def answered(began: float) -> float:
    """Wait until a server answers at PORT; return the seconds since `began`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() - began < 60:
        with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{PORT}/api", timeout=5):
            return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit("the server did not answer within 60 s")


def start_container(image: str) -> float:
    began = time.monotonic()
    name = run("docker", "run", "--detach", "--publish", f"127.0.0.1:{PORT}:8888", image)
    try:
        return answered(began)
    finally:
        run("docker", "rm", "--force", name)


def start_plain(environment: Path) -> float:
    began = time.monotonic()
    command = [environment / "bin" / "jupyter", "lab", "--no-browser", "--allow-root", f"--port={PORT}"]
    variables = {**os.environ, "HOME": str(environment), "PYTHONPATH": ""}
    process = subprocess.Popen(command, cwd=environment, env=variables, stderr=subprocess.DEVNULL)
    try:
        return answered(began)
    finally:
        process.terminate()
        process.wait()


def measure() -> dict[str, Any]:
    try:
        with engine.up():
            return measure_all()
    finally:
        if not hosts.containers():
            engine.down()


def measure_all() -> dict[str, Any]:
    base = images.base()
    seconds = build(f"{IMAGE}:lab", lab_files(), BASE_IMAGE=base)
    size = megabytes(f"{IMAGE}:lab")
    results: dict[str, Any] = {
        "lab": {"megabytes": size, "megabytes_over_base": size - megabytes(base), "build_seconds": seconds}
    }
    for path in sorted((ROOT / "images" / "kernels").glob("*.yml")):
        kernel = kernels.read(path.stem, yaml.safe_load(path.read_text()))
        if kernel.tested and kernel.name != "python":
            tag = f"{IMAGE}:{kernel.spec}"
            made = _image_build.Build("bench", f"{IMAGE}:lab", kernels=[kernel])
            seconds = build(tag, _image_build.context(made, "1000:100"))
            results[f"kernel {kernel.name}"] = {"megabytes": megabytes(tag) - size, "build_seconds": seconds}
            run("docker", "image", "rm", tag)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain"
        uv = shutil.which("uv") or "uv"
        run(uv, "venv", "--quiet", plain)
        run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", plain / "bin" / "python",
            "--constraint", ROOT / "images" / "lab" / "lock.txt", "jupyterlab", "jupyterhub")  # fmt: skip
        times = [(start_container(f"{IMAGE}:lab"), start_plain(plain)) for _unused in range(ROUNDS + 1)][1:]
    ours, plains = (statistics.median(column) for column in zip(*times))
    results["server_answers"] = {
        "image_seconds": round(ours, 2), "plain_seconds": round(plains, 2), "more_seconds": round(ours - plains, 2),
        "goal": "at most 0.5 s more", "rounds": ROUNDS,
    }  # fmt: skip
    run("docker", "image", "rm", f"{IMAGE}:lab")
    return results
