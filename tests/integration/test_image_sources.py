# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images' parts come from: mirrors, a proxy, conda's channels, a registry that asks for a login."""

from __future__ import annotations

import base64
import collections
import fcntl
import hashlib
import http.server
import io
import json
import socket
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import module_runner
import pytest
import requests
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as _image_build
from image_role import play
from own_images import build_files, inside, lab_image, password_registry

from testbed import images
from testbed.patience import until
from testbed.run import run

SIOCGIFADDR = 0x8915  # netdevice(7): the address of an interface

NAME = "carrel-testbed/sources"
DEBIAN = "http://deb.debian.org/debian"
# In the place of micromamba, whose binary no package index here has: its options, and a real solver and installer.
MICROMAMBA = b"""#!/opt/rattler/bin/python
import asyncio, glob, os, sys
import rattler

async def install(prefix, specs):
    there = [rattler.PrefixRecord.from_path(path) for path in glob.glob(f"{prefix}/conda-meta/*.json")]
    records = await rattler.solve(os.environ["CONDA_CHANNELS"].split(","), specs, platforms=["linux-64", "noarch"])
    await rattler.install(records, prefix, installed_packages=there, show_progress=False)

command, *rest = sys.argv[1:]
if command == "install":
    assert rest[:3] == ["--yes", "--quiet", "--prefix"]
    asyncio.run(install(rest[3], rest[4:]))
    os._exit(0)  # its threads may crash a Python that ends in order
else:
    assert [command, *rest] == ["clean", "--all", "--force-pkgs-dirs", "--yes", "--quiet"]
"""


class Mirror(http.server.ThreadingHTTPServer):
    """Files of its own, Debian's packages below /debian, and everything as a proxy; it counts what it served."""

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Handler)
        self.files: dict[str, bytes] = {}
        self.served: collections.Counter[str] = collections.Counter()
        self.host, self.url = address, f"http://{address}:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.served[self.path] += 1
        if self.path.startswith(("http://", "/debian/")):
            address = self.path if self.path.startswith("http") else DEBIAN + self.path.removeprefix("/debian")
            answer = requests.get(address, timeout=60)
            self.answer(answer.status_code, answer.content)
        elif self.path in self.server.files:
            self.answer(200, self.server.files[self.path])
        else:
            self.answer(404, b"")

    do_HEAD = do_GET

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_unused: object) -> None:
        pass


def tar(mode: str, **files: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return target.getvalue()


def wheel() -> bytes:
    target, folder = io.BytesIO(), "carrel_probe-1.0.dist-info"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("carrel_probe.py", "print('from the index')\n")
        archive.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: carrel-probe\nVersion: 1.0\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return target.getvalue()


def npm_files(url: str) -> dict[str, bytes]:
    about = {"name": "carrel-probe", "version": "1.0.0", "bin": {"carrel-probe": "main.js"}}
    package = tar("w:gz", **{
        "package__package.json": json.dumps(about),
        "package__main.js": "#!/usr/bin/env node\nconsole.log('from the registry')\n",
    })  # fmt: skip
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    version = {**about, "dist": {"tarball": f"{url}/npm/probe.tgz", "integrity": integrity}}
    listing = {"name": "carrel-probe", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    return {"/npm/carrel-probe": json.dumps(listing).encode(), "/npm/probe.tgz": package}


def conda_files() -> dict[str, bytes]:
    """A channel with two packages, one of which needs the other."""
    files, records = {}, {}
    for name, depends in ("probe", ["probe-data >=2"]), ("probe-data", []):
        about = {
            "name": name, "version": "2.1", "build": "0", "build_number": 0, "depends": depends, "subdir": "noarch",
            "arch": None, "platform": None, "noarch": "generic",
        }  # fmt: skip
        text = f"from the channel: {name}\n"
        paths = {"paths_version": 1, "paths": [{
            "_path": f"share/{name}.txt", "path_type": "hardlink", "size_in_bytes": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }]}  # fmt: skip
        package = tar("w:bz2", **{
            "info__index.json": json.dumps(about), "info__paths.json": json.dumps(paths), f"share__{name}.txt": text,
        })  # fmt: skip
        files[f"/conda/noarch/{name}-2.1-0.tar.bz2"] = package
        digest = hashlib.sha256(package).hexdigest()
        records[f"{name}-2.1-0.tar.bz2"] = {**about, "sha256": digest, "size": len(package)}
    for subdir, packages in ("noarch", records), ("linux-64", {}):
        listing = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
        files[f"/conda/{subdir}/repodata.json"] = json.dumps(listing).encode()
    return files


def bridge_address() -> str:
    """Where containers reach this machine. Docker may not tell the gateway of a bridge that was there before it."""
    about = run("docker", "network", "inspect", "bridge", "--format", "{{json .Options}}")
    name = json.loads(about)["com.docker.network.bridge.name"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFADDR, struct.pack("256s", name.encode()))
    return socket.inet_ntoa(answer[20:24])


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    with Mirror(bridge_address()) as server:
        link = '<a href="/simple/carrel_probe-1.0-py3-none-any.whl">carrel_probe-1.0-py3-none-any.whl</a>'
        server.files = {
            "/simple/carrel-probe/": link.encode(), "/simple/carrel_probe-1.0-py3-none-any.whl": wheel(),
            **npm_files(server.url), **conda_files(),
        }  # fmt: skip
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    built = run("docker", "image", "ls", "--quiet", NAME).split()
    run("docker", "image", "rm", "--force", *built, check=False)


def test_the_way_to_the_packages_is_the_mirrors(mirror: Mirror, tmp_path: Path) -> None:
    node = _image_build.Build("node", lab_image(), npm=["cowsay@1.6.0"])
    wanted = {"apt": ["hello"], "pip": ["carrel-probe==1.0"], "npm": ["carrel-probe@1.0.0"]}
    base = build_files("own-node", _image_build.context(node, "1000:100"))
    variables: dict[str, Any] = {"image_builds": [{"name": NAME, "base": base, **wanted}]}
    kept = {"PIP_TRUSTED_HOST": mirror.host, "TRIAL": str(mirror.server_port)}  # no other trial's layers
    mirrors = {
        "APT_MIRROR": f"{mirror.url}/debian", "PIP_INDEX_URL": f"{mirror.url}/simple",
        "NPM_CONFIG_REGISTRY": f"{mirror.url}/npm/",
    }  # fmt: skip
    (results,), output = play(tmp_path, {**variables, "image_build_args": {**kept, **mirrors}}, "--limit", "builder")
    said = inside(results[NAME]["image"], "sh", "-c", "hello; python -c 'import carrel_probe'; carrel-probe")
    assert said.splitlines() == ["Hello, world!", "from the index", "from the registry"], output
    assert mirror.served["/simple/carrel_probe-1.0-py3-none-any.whl"] and mirror.served["/npm/probe.tgz"]
    assert any(path.startswith("/debian/pool/main/h/hello/") for path in mirror.served)
    (again,), output = play(tmp_path, {**variables, "image_build_args": kept}, "--limit", "builder", "--check")
    assert again == results and "changed=0" in output, "the way makes no other tag"


def test_a_proxy_is_used_and_leaves_no_trace(mirror: Mirror, tmp_path: Path) -> None:
    build = {"name": NAME, "base": images.base(), "apt": ["hello"], "build_args": {"TRIAL": str(mirror.server_port)}}
    variables = {"image_builds": [build], "image_build_args": {"http_proxy": mirror.url}}
    (results,), output = play(tmp_path, variables, "--limit", "builder")
    image = results[NAME]["image"]
    assert inside(image, "hello") == "Hello, world!", output
    assert any(path.startswith(f"{DEBIAN}/pool/main/h/hello/") for path in mirror.served)
    assert "proxy" not in inside(image, "env").lower()
    assert mirror.url not in run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)


def conda_base() -> str:
    """An image of docker-stacks' kind whose prefix is a conda environment, with the stand-in for micromamba."""
    stacks = images.build("stacks", parent=images.build("lab", parent=images.base()))
    dockerfile = f"""FROM {stacks}
USER root
RUN python3 -m venv /opt/rattler && /opt/rattler/bin/pip install -q --no-cache-dir py-rattler==0.28.0
RUN mkdir /opt/conda/conda-meta && for other in /opt/a /opt/z; do \\
      mkdir -p $other/conda-meta $other/share/jupyter/kernels/python3 \\
      && touch $other/share/jupyter/kernels/python3/kernel.json; done
COPY micromamba /opt/rattler/
RUN install /opt/rattler/micromamba /usr/local/bin/
USER 1000
"""
    return build_files("own-conda", {"Dockerfile": dockerfile.encode(), "micromamba": MICROMAMBA})


def conda(mirror: Mirror, base: str, *packages: str) -> dict[str, Any]:
    image = {"name": NAME, "base": base, "conda": packages, "build_args": {"CONDA_CHANNELS": f"{mirror.url}/conda"}}
    arguments = {"images": json.dumps([image]), "socket": "/var/run/docker.sock"}
    return module_runner.run("image_build", arguments)


def test_conda_packages_come_into_the_environment_of_the_kernel_python3(mirror: Mirror) -> None:
    base = conda_base()
    answer = conda(mirror, base, "probe=2.1")
    assert answer.get("images"), answer
    shown = inside(answer["images"][0]["image"], "sh", "-c", "cat /opt/conda/share/probe*.txt; id -u")
    assert shown.splitlines() == ["from the channel: probe-data", "from the channel: probe", "1000"]
    assert mirror.served["/conda/noarch/probe-data-2.1-0.tar.bz2"] == 1
    missing = conda(mirror, base, "probe=99")
    assert "conda: there is no package probe" in missing["msg"] and len(missing["msg"].splitlines()) <= 10


def test_conda_needs_a_base_that_has_it(mirror: Mirror) -> None:
    why = (
        "conda: the base has no mamba, conda or micromamba: take a base with conda, such as docker-stacks', or the keys"
        " pip and apt"
    )
    base = lab_image()
    # On a busy machine the builder of Docker 20.10 may lose what a step prints that ends at once.
    until(lambda: conda(mirror, base, "probe=2.1")["msg"].endswith(why), f"the reason is: {why}")


def test_logins_are_checked_and_kept_for_root_alone(tmp_path: Path) -> None:
    config = tmp_path / "docker"
    config.mkdir(mode=0o755)
    small = {"name": NAME, "base": images.base(), "files": [{"dest": "/etc/carrel-test", "content": "login"}]}
    with password_registry(tmp_path) as registry:
        entry = {"address": registry, "username": "ada"}
        variables: dict[str, Any] = {"image_builds": [{**small, "push": registry}]}
        variables["image_registries"] = [{**entry, "password": "not-hers-at-all"}]
        results, output = play(tmp_path, variables, "--limit", "builder")
        assert not results and "not-hers-at-all" not in output and "Traceback" not in output
        assert f"{registry} did not log ada in; correct its entry in image_registries" in output
        assert not list(config.iterdir())
        variables["image_registries"] = [{**entry, "password": "secret"}]
        results, output = play(tmp_path, variables, "-vvv")
        digest = results[0][NAME]["digest"]
        assert digest.startswith(f"{registry}/{NAME}@sha256:") and results[1][NAME]["image"] == digest, output
        encoded = base64.b64encode(b"ada:secret").decode()
        assert encoded not in output and '"secret"' not in output
        assert "changed=0" in play(tmp_path, variables, "--limit", "builder")[1]
        run("docker", "image", "rm", "--force", digest)
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and encoded in path.read_text(errors="replace")]
    assert holders == [config / "config.json"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, *holders)] == [0o700, 0o600]
