# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels by name: what images/kernels declares, chosen from and turned into the steps of a Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest

ENVIRONMENTS = "/opt/kernels"
SPECS = "/usr/local/share/jupyter/kernels"  # of Jupyter's data paths the one that every environment shares
USERS = 100  # docker-stacks' group, which may change the environments that are changeable
MARK = "carrel-part: "  # before the name of the part whose steps follow in a build's log
_LISTS = ("apt", "pip", "npm")
_OPTIONS = ("name", "environment", "title", *_LISTS)


class KernelError(ValueError):
    """An invalid kernel, and what to write instead."""


@dataclass(frozen=True)
class Smoke:
    """A cell and its output."""

    code: str
    output: str  # without the white space at its end, with which kernels differ


@dataclass(frozen=True)
class Kernel:
    """A kernel as declared; `{environment}` in argv and steps is its environment's path."""

    name: str
    title: str
    language: str
    argv: list[str]
    smoke: Smoke
    tested: bool
    reason: str = ""  # why it is not tested
    environment: str | None = None  # a Python environment below ENVIRONMENTS
    changeable: bool = False  # its people may install into the environment
    apt: list[str] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    npm: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)  # lines of shell, as root, with the environment's programs first
    env: dict[str, str] = field(default_factory=dict)
    interrupt_mode: str = "signal"
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        """The name that Jupyter knows it by; python3 is the one that notebooks ask for."""
        if self.name == "python":
            return "python3" if self.environment == "python" else f"python-{self.environment}"
        return self.name.replace("+", "p")

    @property
    def path(self) -> str:
        return f"{ENVIRONMENTS}/{self.environment}"


def read(name: str, declaration: Mapping[str, Any]) -> Kernel:
    """Return a kernel from the declaration images/kernels/NAME.yml."""
    known = {item.name for item in fields(Kernel)} - {"name"}
    if not isinstance(declaration, Mapping):
        raise KernelError(f"kernel {name} is not a mapping; the keys are: {', '.join(sorted(known))}")
    unknown = sorted(set(declaration) - known)
    if unknown:
        raise KernelError(f"kernel {name}: unknown key {unknown[0]}; the keys are: {', '.join(sorted(known))}")
    missing = [key for key in ("title", "language", "argv", "smoke", "tested") if key not in declaration]
    if missing:
        raise KernelError(f"kernel {name}: {', '.join(missing)} is missing")
    if not declaration["tested"] and not declaration.get("reason"):
        raise KernelError(f"kernel {name}: explain in the key reason why it is not tested")
    if not isinstance(declaration["smoke"], Mapping) or set(declaration["smoke"]) != {"code", "output"}:
        raise KernelError(f"kernel {name}: smoke is not a cell; write {{code, output}}")
    return Kernel(name=name, **{**declaration, "smoke": Smoke(**declaration["smoke"])})


def choose(wanted: Sequence[Any], known: Mapping[str, Kernel]) -> list[Kernel]:
    """Return the kernels that an image asks for, each by its name or by a mapping with its environment and packages."""
    chosen: dict[str, Kernel] = {}
    for item in wanted:
        kernel = _choose(item, known)
        if kernel.spec in chosen:
            raise KernelError(
                f"kernels: {kernel.spec} is listed twice; list each once, python once for each environment"
            )
        chosen[kernel.spec] = kernel
    return list(chosen.values())


def _choose(item: Any, known: Mapping[str, Kernel]) -> Kernel:
    options: Mapping[str, Any] = item if isinstance(item, Mapping) else {"name": item}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise KernelError(f"kernels: unknown key {unknown[0]}; the keys are: {', '.join(_OPTIONS)}")
    name = str(options.get("name"))
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"the known ones are: {', '.join(sorted(known))}"
        raise KernelError(f"kernels: there is no kernel {name}; {hint}")
    kernel = known[name]
    environment = options.get("environment", kernel.environment)
    if environment != kernel.environment:
        if not kernel.changeable:
            raise KernelError(f"kernels: {name} has one environment; only python takes the key environment")
        taken = {other.environment for other in known.values()} - {kernel.environment}
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", str(environment)) or environment in taken:
            raise KernelError(
                f"kernels: {environment!r} is not a name for an environment; write lower-case letters, digits, - and _,"
                f" and none of {', '.join(sorted(filter(None, taken)))}"
            )
    more: dict[str, Any] = {key: [*getattr(kernel, key), *options.get(key, [])] for key in _LISTS}
    for key in _LISTS:
        check_packages(f"kernels: {name}: {key}", more[key])
    title = kernel.title if environment == kernel.environment else f"{kernel.title} ({environment})"
    return replace(kernel, environment=environment, title=options.get("title", title), **more)


def check_packages(where: str, packages: Sequence[Any]) -> None:
    """Refuse what a package manager would take for an option, or for several packages."""
    for package in packages:
        if not isinstance(package, str) or not re.fullmatch(r"[^\s\-]\S*( \S+)*", package):
            raise KernelError(f"{where}: {package!r} is not a package; write one per line, without options")


def kernelspec(kernel: Kernel) -> str:
    """Return its kernel.json."""
    content: dict[str, Any] = {
        "argv": [part.replace("{environment}", kernel.path) for part in kernel.argv],
        "display_name": kernel.title,
        "language": kernel.language,
        "interrupt_mode": kernel.interrupt_mode,
        "env": kernel.env,
        "metadata": kernel.metadata,
    }
    return json.dumps(content, indent=1) + "\n"


def script(kernel: Kernel) -> str:
    """Return the shell that installs it, as root, on any Debian or Ubuntu."""
    lines = [apt(kernel.apt)] if kernel.apt else []
    if kernel.environment:
        lines.append(f"/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || {{ {apt(['python3-venv'])}; }}")
        lines.append(f"test -x {kernel.path}/bin/python || /usr/bin/python3 -m venv {kernel.path}")
        lines.append(f"export PATH={kernel.path}/bin:$PATH")
    if kernel.pip:
        lines.append(pip(f"{kernel.path}/bin/python", kernel.pip))
    if kernel.npm:
        lines.append(npm(kernel.path, kernel.npm))
    lines += [step.replace("{environment}", kernel.path) for step in kernel.steps]
    if kernel.changeable:
        # only what differs: a layer holds a whole copy of every file that is touched
        lines.append(f"find {kernel.path} ! -type l ! -group {USERS} -exec chgrp {USERS} {{}} +")
        lines.append(f"find {kernel.path} ! -type l ! -perm -020 -exec chmod g+w {{}} +")
        lines.append(f"find {kernel.path} -type d ! -perm -2000 -exec chmod g+s {{}} +")
    return part(f"kernel {kernel.spec}", lines)


def part(name: str, lines: Sequence[str]) -> str:
    """Return a step's shell: it says its name first, leaves no cache, and nothing in the home of the image's user."""
    begin = [f"echo {shlex.quote(MARK + name)}", 'export HOME="$(mktemp -d)"', "trap 'rm -rf \"$HOME\"' EXIT"]
    return "\n".join([*begin, *lines]) + "\n"


def apt(packages: Sequence[str]) -> str:
    names = " ".join(map(shlex.quote, packages))
    return (
        "apt-get update -qq -o Acquire::Retries=3 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y"
        f" -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 --no-install-recommends {names} >/dev/null && apt-get clean"
        " && rm -rf /var/lib/apt/lists/*"
    )


def pip(python: str, packages: Sequence[str]) -> str:
    return f"{python} -m pip install -q --no-cache-dir --root-user-action ignore {' '.join(map(shlex.quote, packages))}"


def npm(prefix: str, packages: Sequence[str]) -> str:
    """Install what is missing; npm itself would install everything again."""
    names = " ".join(map(shlex.quote, packages))
    options = f"--global --prefix {prefix}"
    install = f"npm install {options} --no-audit --no-fund --loglevel error {names}"
    return f"npm ls {options} {names} >/dev/null 2>&1 || {install}"
