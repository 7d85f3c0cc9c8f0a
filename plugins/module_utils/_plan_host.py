# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan against what instance_info read from the host: ports, accounts, engines, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_keys import GIB, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problems, kind_of
from ansible_collections.carrel.jupyter.plugins.module_utils._ports import allocate
from ansible_collections.carrel.jupyter.plugins.module_utils._schema import given
from ansible_collections.carrel.jupyter.plugins.module_utils._url import Url


@dataclass(frozen=True)
class Host:
    """What is there. Engines, directories and ports are by instance."""

    engines: Mapping[str, str]
    directories: Mapping[str, str]
    ports: Mapping[str, int]
    all_engines: frozenset[str]
    accounts: frozenset[str]
    groups: frozenset[str]
    listening: frozenset[int]
    memory: int | None
    cpus: int | None


def read_host(current: Any, problems: Problems) -> Host | None:
    """The result of instance_info; None when nothing is known."""
    if current is None:
        return None
    parts = [current.get(key) if isinstance(current, Mapping) else None for key in ("instances", "engines", "accounts")]
    if not all(isinstance(part, Mapping) for part in parts):
        problems.add("current", "wrong_type", got=kind_of(current), wanted="the result of carrel.jupyter.instance_info")
        return None
    instances, engines, accounts = parts
    known = {str(name): item for name, item in (instances or {}).items() if isinstance(item, Mapping)}
    listening = current.get("listening_ports")
    memory, cpus = current.get("memory_bytes"), current.get("cpus")
    return Host(
        engines={name: str(item.get("engine") or name) for name, item in known.items()},
        directories={name: str(item["directory"]) for name, item in known.items() if item.get("directory")},
        ports={name: item["port"] for name, item in known.items() if isinstance(item.get("port"), int)},
        all_engines=frozenset(str(name) for name in engines or ()),
        accounts=frozenset(str(name) for name in accounts or ()),
        groups=frozenset(str(name) for name in current.get("groups") or ()),
        listening=frozenset(
            port for port in (listening if isinstance(listening, list) else []) if isinstance(port, int)
        ),
        memory=memory if isinstance(memory, int) else None,
        cpus=cpus if isinstance(cpus, int) else None,
    )


def engine_of(lab: Lab, host: Host | None) -> str:
    """An absent instance is removed from where it is."""
    if not lab.wanted and host and lab.name in host.engines:
        return host.engines[lab.name]
    return str(lab.engine or lab.name)


def directory_of(lab: Lab, host: Host | None, base_dir: str) -> str:
    """An absent instance is removed from where it is."""
    directory = f"{base_dir}/{lab.name}"
    return host.directories.get(lab.name, directory) if host and not lab.wanted else directory


def check_host(labs: Sequence[Lab], host: Host, base_dir: str, problems: Problems) -> None:
    told: set[str] = set()
    for lab in labs:
        if not lab.wanted or not given(lab.name) or not (lab.engine is None or given(lab.engine)):
            continue
        engine = engine_of(lab, host)
        key = "engine" if lab.engine else "name"
        old = host.engines.get(lab.name, engine)
        if old != engine:
            problems.add(f"{lab.path}.engine", "engine_moved", old=old, new=engine)
        elif engine in host.accounts and engine not in host.all_engines and engine not in told:
            told.add(engine)
            problems.add(f"{lab.path}.{key}", "account_foreign", engine=engine)
        elif engine in host.groups and engine not in host.all_engines and engine not in told:
            told.add(engine)
            problems.add(f"{lab.path}.{key}", "group_foreign", engine=engine)
        if given(lab.cpus) and host.cpus and lab.cpus > host.cpus:
            problems.add(f"{lab.path}.cpus", "cpus_host", value=lab.cpus, cpus=host.cpus)
        directory = directory_of(lab, host, base_dir)
        old_directory = host.directories.get(lab.name, directory)
        if old_directory != directory:
            problems.add("jupyter_base_dir", "directory_moved", name=lab.name, old=old_directory, new=directory)


def give_ports(labs: Sequence[Lab], host: Host, low: int, high: int, problems: Problems) -> None:
    """Sets the port of every instance that has none."""
    wanted = [lab for lab in labs if lab.wanted and given(lab.name) and (lab.port is None or given(lab.port))]
    fixed = {lab.name: lab.port for lab in wanted if lab.port is not None}
    for lab in wanted:
        if lab.port is None or host.ports.get(lab.name) == lab.port:
            continue
        owner = next((f"instance {name}" for name, port in sorted(host.ports.items()) if port == lab.port), None)
        if owner or lab.port in host.listening:
            problems.add(f"{lab.path}.port", "port_taken", value=lab.port, owner=owner or "another program")
    public = {lab.url.port for lab in labs if lab.wanted and isinstance(lab.url, Url)}
    known = {name: port for name, port in host.ports.items() if port not in public}
    ports = allocate([lab.name for lab in wanted], fixed, known, host.listening | public, low, high)
    for lab in wanted:
        lab.port = ports[lab.name]
        if lab.port is None:
            problems.add(f"{lab.path}.port", "port_none_free", low=low, high=high)


def warnings_about(labs: Sequence[Lab], host: Host | None) -> list[str]:
    lines = []
    names = {lab.name for lab in labs}
    engines = [engine_of(lab, host) for lab in labs]
    for lab, engine in zip(labs, engines):
        if lab.wanted and lab.url.scheme == "http":
            lines.append(f"{lab.name}: http:// sends passwords and notebooks in the clear")
        near = nearest(engine, [other for other in engines if other != engine])
        if engine != lab.name and near and engines.count(engine) == 1:
            lines.append(f"{lab.name}: nobody else is on the engine '{engine}'; did you mean '{near}'?")
    if host is None:
        return lines
    for name in sorted(set(host.engines) - names):
        lines.append(
            f"{name}: is on the host but not in jupyter_instances; its containers and data are left alone, its address "
            f"is no longer served. To remove it, write {{name: {name}, state: absent}}"
        )
    limits = sum(lab.memory for lab in labs if lab.state == "present" and lab.memory)
    if host.memory and limits > host.memory:
        lines.append(f"the memory limits add up to {limits / GIB:.1f} GiB, the host has {host.memory / GIB:.1f} GiB")
    return lines
