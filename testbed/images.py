# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images, each tagged by the digest of what it is made from, so that nothing is built twice."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from . import engine
from .run import ROOT, Failure, alone, run, step, succeeds

RELEASE = "trixie"
BASE = f"debian:{RELEASE}-slim"
MACHINE_CERTIFICATES = Path("/usr/local/share/ca-certificates")
FOLDERS = ROOT / "testbed" / "images"


def base(release: str = RELEASE) -> str:
    """Make sure that the base image is there: pulled where a registry is in reach, else made with mmdebstrap."""
    name = f"debian:{release}-slim"
    if succeeds("docker", "image", "inspect", name):
        return name
    with step(f"pulling {name}"):
        pulled = succeeds("timeout", "120", "docker", "pull", "--quiet", name)
    if not pulled:
        engine.install_packages("mmdebstrap")
        with step(f"no registry in reach: making {name} with mmdebstrap"), tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch) / "base.tar"
            run("mmdebstrap", "--variant=minbase", "--include=ca-certificates", release, tree)
            run("docker", "import", "--change", 'CMD ["bash"]', tree, name)
    return name


def build(name: str, *, parent: str, args: dict[str, str] | None = None) -> str:
    """Build testbed/images/NAME on top of `parent` unless it exists; return its tag."""
    parent_id = run("docker", "image", "inspect", "--format", "{{.Id}}", parent)
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(FOLDERS / name, context)
        add_certificates(context / "certificates")
        return build_context(name, context, {"BASE": parent, **(args or {})}, salt=parent_id)


def add_certificates(folder: Path) -> None:
    """Copy the machine's own extra CA certificates, for networks with an inspecting proxy."""
    folder.mkdir(exist_ok=True)
    for certificate in sorted(MACHINE_CERTIFICATES.glob("*.crt")):
        shutil.copy(certificate, folder)


def build_context(name: str, context: Path, args: dict[str, str], salt: str = "") -> str:
    """Build a Dockerfile's folder unless its content, the arguments and the salt were built before; return the tag.

    Of several processes that want the same image, one builds it and the others wait.
    """
    digest = hashlib.sha256(repr((salt, sorted(args.items()))).encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            digest.update(repr((str(path.relative_to(context)), path.stat().st_mode)).encode() + path.read_bytes())
    tag = f"carrel-testbed/{name}:{digest.hexdigest()[:12]}"
    with alone(name):
        if not succeeds("docker", "image", "inspect", tag):
            arguments = [f"--build-arg={key}={value}" for key, value in args.items()]
            with step(f"building the image {name}"):
                run("docker", "build", "--tag", tag, *arguments, context)
    return tag


def push(tag: str, registry: str, name: str) -> str:
    """Push an image to a registry as NAME:1.0, unless it is there; return the name without the registry's address."""
    target = f"{registry}/{name}"
    with alone("push"), step(f"pushing {name}"):
        run("docker", "tag", tag, target)
        run("docker", "push", "--quiet", target)
    return name


def remove_all() -> None:
    """Remove every image that the test bed built; the base image stays, as it may be somebody else's too."""
    tags = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    named = [tag for tag in tags if not tag.endswith(":<none>")]
    ours = [tag for tag in named if tag.startswith(("carrel-testbed/", "carrel/")) or "/carrel/" in tag]
    if ours:
        with step(f"removing {len(ours)} images"):
            run("docker", "image", "rm", "--force", *ours)


def check_space(path: Path, gigabytes: int) -> None:
    """Fail early when the disk is too small."""
    free = shutil.disk_usage(path).free / 1e9
    if free < gigabytes:
        raise Failure(f"{path} has {free:.1f} GB free; the test hosts need {gigabytes} GB")
