# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check how the instances of a host depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from posixpath import normpath
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import taken
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import given, known
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import SERVER_PATHS, Url
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import DATA_ROOT, inside


def check_instances(instances: Sequence[Instance], base_dir: str, problems: Problems) -> None:
    wanted = [instance for instance in instances if instance.wanted]
    _twice(instances, lambda instance: instance.name, "name", "name_twice", problems)
    _twice(wanted, lambda instance: instance.address and str(instance.address), "url", "url_twice", problems)
    _twice(wanted, lambda instance: instance.port, "port", "port_twice", problems)
    _check_tokens([instance for instance in wanted if isinstance(instance, Lab)], instances, base_dir, problems)
    _check_repositories(wanted, instances, base_dir, problems)
    _check_engines(wanted, problems)
    _check_sites([instance for instance in wanted if instance.address], problems)
    _check_domains([instance for instance in wanted if isinstance(instance.url, Url)], problems)
    public = {instance.url.port for instance in wanted if isinstance(instance.url, Url) and given(instance.url.port)}
    for instance in wanted:
        reason = taken(instance.name) if given(instance.name) else None
        if reason:
            problems.add(f"{instance.path}.name", "name_reserved", value=show(instance.name), reason=reason)
        if instance.port in public:
            problems.add(f"{instance.path}.port", "port_public", value=instance.port)


def _twice(
    instances: Sequence[Instance],
    value_of: Callable[[Any], Hashable],
    key: str,
    message_id: str,
    problems: Problems,
) -> None:
    first: dict[Hashable, Instance] = {}
    for instance in instances:
        value = value_of(instance)
        if not given(value) or not given(getattr(instance, key)):
            continue
        if value in first:
            problems.add(f"{instance.path}.{key}", message_id, value=show(value), other=first[value].path)
        first.setdefault(value, instance)


def _check_tokens(labs: Sequence[Lab], instances: Sequence[Instance], base_dir: str, problems: Problems) -> None:
    """Check that no container and no account can replace a token file."""
    _twice(labs, lambda lab: lab.token_file, "token_file", "token_file_twice", problems)
    folders = {f"{base_dir}/{instance.name}": "it holds an instance" for instance in instances if given(instance.name)}
    folders.update(
        {
            volume.source: f"{lab.name} mounts {volume.source}"
            for lab in labs
            for volume in known(lab.volumes)
            if given(volume.source)
        }
    )
    for lab in labs:
        if not given(lab.token_file) or lab.token_file == f"{base_dir}/{lab.name}/token":
            continue
        reason = next((why for folder, why in folders.items() if inside(lab.token_file, folder)), None)
        if reason:
            problems.add(f"{lab.path}.token_file", "token_place", value=show(lab.token_file), reason=reason)


def _check_repositories(
    wanted: Sequence[Instance], instances: Sequence[Instance], base_dir: str, problems: Problems
) -> None:
    """Check that no local repository is in its own backup, or in anything else that goes away or is somebody's."""
    folders = {f"{base_dir}/{instance.name}": "it holds an instance" for instance in instances if given(instance.name)}
    folders[f"{base_dir}/.archive"] = "it holds removed instances"
    folders[DATA_ROOT] = "engines write there"
    for instance in wanted:
        place = instance.backup["repository"] if isinstance(instance.backup, dict) else None
        if not given(instance.name) or not isinstance(place, str) or not place.startswith("/"):
            continue
        path = normpath(f"/{place.strip('/')}/{instance.name}")
        reason = next((why for other, why in folders.items() if inside(path, other) or inside(other, path)), None)
        if reason:
            problems.add(f"{instance.path}.backup.repository", "repository_place", value=path, reason=reason)


def _check_engines(instances: Sequence[Instance], problems: Problems) -> None:
    engines = {
        instance.name: instance.engine for instance in instances if given(instance.name) and given(instance.engine)
    }
    for instance in instances:
        if not given(instance.engine) or instance.engine == instance.name:
            continue
        other = engines.get(instance.engine, instance.engine)
        if other != instance.engine:
            last = _last_engine(instance.name, engines)
            problems.add(
                f"{instance.path}.engine", "engine_chain", value=show(instance.engine), engine=other, last=last
            )


def _last_engine(name: str, engines: Mapping[str, str]) -> str:
    """Follow the chain of engines from an instance to its end. In a circle, return the instance itself."""
    last = engines.get(name, name)
    for _step in engines:
        if engines.get(last, last) == last:
            return last
        last = engines[last]
    return name


def _check_sites(instances: Sequence[Instance], problems: Problems) -> None:
    for index, instance in enumerate(instances):
        url: Url = instance.url
        for other in instances[:index]:
            if other.url.port == url.port and other.url.scheme != url.scheme:
                problems.add(f"{instance.path}.url", "url_mixed_port", port=url.port, other=other.path)
                break
        same_site = [other for other in instances[:index] if (other.url.host, other.url.port) == (url.host, url.port)]
        for other in same_site[:1]:
            if given(instance.tls) and given(other.tls) and instance.tls.differs(other.tls):
                problems.add(f"{instance.path}.tls", "tls_differs", other=other.path)
            if (
                given(instance.hsts_seconds)
                and given(other.hsts_seconds)
                and instance.hsts_seconds != other.hsts_seconds
            ):
                problems.add(f"{instance.path}.hsts_seconds", "hsts_differs", other=other.path)
        for other in instances:
            if other.url.host != url.host:
                continue
            if url.scheme == "http" and url.port == 80 and other.url.scheme == "https":
                problems.add(f"{instance.path}.url", "url_plain_and_tls", host=url.host, other=other.path)
                break
            below = url.path[len(other.url.path) :] if url.path.startswith(other.url.path) else ""
            if url.port == other.url.port and below.split("/")[0] in SERVER_PATHS:
                problems.add(f"{instance.path}.url", "url_shadow", value=show(url.path), other=other.path)


def _check_domains(instances: Sequence[Instance], problems: Problems) -> None:
    """Keep other instances off users' domains: users' pages can set cookies for the hub's name and all names below."""
    hubs = [hub for hub in instances if isinstance(hub, Hub) and hub.user_domains is True and given(hub.url.host)]
    for hub in hubs:
        for other in instances:
            host = other.url.host
            if other is not hub and given(host) and (host == hub.url.host or host.endswith(f".{hub.url.host}")):
                problems.add(f"{other.path}.url", "domains_host", other=hub.path, host=hub.url.host)
