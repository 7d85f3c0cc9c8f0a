# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the plan against what instance_info read from the host: ports, accounts, engines, size."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.backup import shared_stores
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.ports import allocate
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import given
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import size_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION, order


@dataclass(frozen=True)
class Host:
    """What is on the host, by instance. `ports` has the port of a second server under `second(instance)`."""

    # the content of each instance.json
    records: Mapping[str, Mapping[str, Any]]
    kinds: Mapping[str, str]
    engines: Mapping[str, str]
    directories: Mapping[str, str]
    ports: Mapping[str, int]
    # the version of the collection that set it up
    versions: Mapping[str, str]
    all_engines: frozenset[str]
    accounts: frozenset[str]
    groups: frozenset[str]
    # hubs whose takeover is not complete
    taken_in_part: frozenset[str]
    listening: frozenset[int]
    # The kernel gives these to programs that ask for any free port, and no rule prevents it.
    ephemeral: range
    memory: int | None
    cpus: int | None


def second(name: str) -> str:
    """Return the name for an instance's second port. Instances cannot have such a name."""
    return f"{name} second"


def read_host(current: Any, problems: Problems) -> Host | None:
    """Read the result of instance_info. None means that nothing is known."""
    if current is None:
        return None
    parts = [current.get(key) if isinstance(current, Mapping) else None for key in ("instances", "engines", "accounts")]
    if not all(isinstance(part, Mapping) for part in parts):
        problems.add("current", "wrong_type", got=kind_of(current), wanted="the result of carrel.jupyter.instance_info")
        return None
    instances, engines, accounts = parts
    known = {str(name): item for name, item in (instances or {}).items() if isinstance(item, Mapping)}
    listening = current.get("listening_ports")
    ephemeral = current.get("ephemeral_ports") or [0, -1]
    memory, cpus = current.get("memory_bytes"), current.get("cpus")
    return Host(
        records=known,
        kinds={name: item["kind"] for name, item in known.items() if isinstance(item.get("kind"), str)},
        engines={name: str(item.get("engine") or name) for name, item in known.items()},
        directories={name: str(item["directory"]) for name, item in known.items() if item.get("directory")},
        ports={
            owner: item[key]
            for name, item in known.items()
            for owner, key in ((name, "port"), (second(name), "second_port"))
            if isinstance(item.get(key), int)
        },
        versions={name: item["collection"] for name, item in known.items() if isinstance(item.get("collection"), str)},
        all_engines=frozenset(str(name) for name in engines or ()),
        accounts=frozenset(str(name) for name in accounts or ()),
        groups=frozenset(str(name) for name in current.get("groups") or ()),
        taken_in_part=frozenset(str(name) for name in current.get("taken_in_part") or ()),
        listening=frozenset(
            port for port in (listening if isinstance(listening, list) else []) if isinstance(port, int)
        ),
        ephemeral=range(ephemeral[0], ephemeral[1] + 1),
        memory=memory if isinstance(memory, int) else None,
        cpus=cpus if isinstance(cpus, int) else None,
    )


def engine_of(instance: Instance, host: Host | None) -> str:
    """Return the engine: the declared one, or for an absent instance the one that it is in."""
    if not instance.wanted and host and instance.name in host.engines:
        return host.engines[instance.name]
    return str(instance.engine or instance.name)


def directory_of(instance: Instance, host: Host | None, base_dir: str) -> str:
    """Return the directory: the declared one, or for an absent instance the one that it is in."""
    directory = f"{base_dir}/{instance.name}"
    return host.directories.get(instance.name, directory) if host and not instance.wanted else directory


def check_version(host: Host, problems: Problems) -> None:
    newer = {name: version for name, version in host.versions.items() if order(version) > order(VERSION)}
    if newer:
        problems.add(
            "jupyter_allow_downgrade",
            "downgrade",
            names=", ".join(sorted(newer)),
            found=max(newer.values(), key=order),
            own=VERSION,
        )


def check_host(instances: Sequence[Instance], host: Host, base_dir: str, problems: Problems) -> None:
    told: set[str] = set()
    for instance in instances:
        if host.kinds.get(instance.name, instance.kind) != instance.kind:
            problems.add(f"{instance.path}.kind", "kind_moved", old=host.kinds[instance.name], new=instance.kind)
        if not instance.wanted or not given(instance.name) or not (instance.engine is None or given(instance.engine)):
            continue
        if instance.name in host.taken_in_part:
            problems.add(instance.path, "taken_in_part", name=instance.name)
        engine = engine_of(instance, host)
        key = "engine" if instance.engine else "name"
        old = host.engines.get(instance.name, engine)
        if old != engine:
            problems.add(f"{instance.path}.engine", "engine_moved", old=old, new=engine)
        elif engine in host.accounts and engine not in host.all_engines and engine not in told:
            told.add(engine)
            problems.add(f"{instance.path}.{key}", "account_foreign", engine=engine)
        elif engine in host.groups and engine not in host.all_engines and engine not in told:
            told.add(engine)
            problems.add(f"{instance.path}.{key}", "group_foreign", engine=engine)
        backend = host.records.get(instance.name, {}).get("backend")  # none in records of version 0.1.0
        if isinstance(instance, Hub) and backend and given(instance.backend) and instance.backend != backend:
            problems.add(f"{instance.path}.backend", "backend_moved", old=backend, new=instance.backend)
        if isinstance(instance, Lab) and given(instance.cpus) and host.cpus and instance.cpus > host.cpus:
            problems.add(f"{instance.path}.cpus", "cpus_host", value=instance.cpus, cpus=host.cpus)
        directory = directory_of(instance, host, base_dir)
        old_directory = host.directories.get(instance.name, directory)
        if given(base_dir) and old_directory != directory:
            problems.add("jupyter_base_dir", "directory_moved", name=instance.name, old=old_directory, new=directory)


def give_ports(instances: Sequence[Instance], host: Host, low: int, high: int, problems: Problems) -> None:
    """Give a port to each instance that declares none, and a second one to each lab."""
    wanted = [
        instance
        for instance in instances
        if instance.wanted and given(instance.name) and (instance.port is None or given(instance.port))
    ]
    fixed = {instance.name: instance.port for instance in wanted if instance.port is not None}
    for instance in wanted:
        if instance.port in host.ephemeral:
            first, last = host.ephemeral[0], host.ephemeral[-1]
            problems.add(f"{instance.path}.port", "port_ephemeral", value=instance.port, first=first, last=last)
            continue
        owners = sorted(owner for owner, port in host.ports.items() if port == instance.port)
        if instance.port is None or {instance.name, second(instance.name)} & set(owners):
            continue
        owner = f"instance {owners[0].split()[0]}" if owners else None
        if owner or instance.port in host.listening:
            problems.add(f"{instance.path}.port", "port_taken", value=instance.port, owner=owner or "another program")
    urls = [instance.url for instance in instances if instance.wanted and isinstance(instance.url, Url)]
    public = {url.port for url in urls if given(url.port)}
    known = {name: port for name, port in host.ports.items() if port not in public and port not in host.ephemeral}
    labs = [instance for instance in wanted if isinstance(instance, Lab)]
    owners_to_be = [instance.name for instance in wanted] + [second(lab.name) for lab in labs]
    ports = allocate(owners_to_be, fixed, known, host.listening | public | {*host.ephemeral}, low, high)
    for lab in labs:
        lab.second_port = ports[second(lab.name)]
    for instance in wanted:
        instance.port = ports[instance.name]
        if instance.port is None or (isinstance(instance, Lab) and instance.second_port is None):
            problems.add(f"{instance.path}.port", "port_none_free", low=low, high=high)


def check_left_out(instances: Sequence[Instance], only: Collection[str], host: Host, problems: Problems) -> None:
    """Check that the instances that ONLY leaves out are on the host as they are declared. Ports must be given before.

    Apache's sites have all instances: without this check, Apache would send requests to a port where no server is.
    """
    for instance in instances:
        record = host.records.get(instance.name)
        if record is None or instance.name in only:
            continue
        for key in ("state", "url", "port", "second_port") if instance.wanted else ("state",):
            new = getattr(instance, key, None)
            old = record.get(key)
            if old is not None and given(new) and str(new) != str(old):
                path = f"{instance.path}.{key.removeprefix('second_')}"
                problems.add(path, "left_out_differs", old=old, new=new, name=instance.name)


def warnings_about(instances: Sequence[Instance], host: Host | None) -> list[str]:
    lines = []
    names = {instance.name for instance in instances}
    engines = [engine_of(instance, host) for instance in instances]
    for instance, engine in zip(instances, engines):
        if instance.wanted and instance.url.scheme == "http":
            lines.append(f"{instance.name}: http:// sends passwords and notebooks unencrypted")
        near = nearest(engine, [other for other in engines if other != engine])
        if engine != instance.name and near and engines.count(engine) == 1:
            lines.append(f"{instance.name}: nobody else is on the engine '{engine}'; did you mean '{near}'?")
        lines += [f"{instance.name}: {warning}" for warning in instance.warnings]
    lines += _shared_origins(instances, engines)
    lines += shared_stores(instances, engines)
    if host is None:
        return lines
    for name in sorted(set(host.engines) - names):
        lines.append(
            f"{name}: is on the host but not in jupyter_instances; its containers and data stay, its address is no "
            f"longer served. To remove it, write {{name: {name}, state: absent}}"
        )
    limits = sum(instance.memory_limit for instance in instances if instance.state == "present")
    if host.memory and limits > host.memory:
        hubs = any(isinstance(instance, Hub) and not instance.active_servers for instance in instances)
        hint = "; active_servers of a hub limits how many servers run at once" if hubs else ""
        lines.append(f"the memory limits add up to {size_text(limits)}, the host has {size_text(host.memory)}{hint}")
    return lines


def _shared_origins(instances: Sequence[Instance], engines: Sequence[str]) -> list[str]:
    """Warn about instances with the same scheme, host and port: browsers do not separate their pages."""
    origins: dict[str, dict[str, str]] = {}
    for instance, engine in zip(instances, engines):
        if instance.wanted:
            origins.setdefault(str(instance.url._replace(path="")), {})[instance.name] = engine
    return [
        f"{', '.join(names)}: share {origin}, so a notebook opened in one can act in the others for whoever is logged "
        "in there, though their engines differ. Give each a host name of its own unless they trust each other"
        for origin, names in origins.items()
        if len(set(names.values())) > 1
    ]
