# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what others have set up on a host: engines with their containers, web servers' sites, cron's jobs."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import cron, lab, shapes, web
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import subordinate_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import config_path
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, survey_hub
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import first_range
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

ROOTFUL = "/var/run/docker.sock"
COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
SITES = ("/etc/apache2/sites-enabled", "/etc/nginx/sites-enabled", "/etc/nginx/conf.d")
JOBS = ("/etc/cron.daily", "/etc/cron.d")
CRONTAB, CRONTABS = "/etc/crontab", "/var/spool/cron/crontabs"
UNITS, OWN_UNITS = "/etc/systemd/system", ".config/systemd/user"
OURS = "carrel"
UNIT = "docker.service"
MOST = 200  # files in a folder, containers in an engine and so on
LONGEST = 1 << 20
SECONDS = 60


def survey(base: str) -> dict[str, Any]:
    """Return the survey. BASE is the folder with instances' folders."""
    engines = [*_engines()]
    homes = {engine["home"]: engine["account"] for engine in engines if engine["account"]}
    running = {container["directory"] for engine in engines for container in engine["containers"]}
    projects = [*filter(None, running), *homes.values()]
    ours = _names("/var/lib/carrel")
    return {
        "hostname": socket.getfqdn(),
        "base_dir": base,
        "folders": _names(base),
        "instances": ours,
        "engines": engines,
        "sites": [site for path in _paths(SITES) for site in web.sites(path, _text(path))],
        "cron": [job for path in _paths(JOBS) for job in cron.jobs(path, _text(path), projects)],
        "starters": [*_starters(homes, projects)],
        "stopped": sorted(
            {path for path in _compose_files([base, *homes], ours) if os.path.dirname(path) not in running}
        ),
    }


def _names(folder: str) -> list[str]:
    """Return the names in a folder. Empty if there is no such folder."""
    try:
        descriptor = files.open_directory(folder)
    except (files.UnsafePathError, OSError):
        return []
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _paths(folders: tuple[str, ...]) -> Iterator[str]:
    for folder in folders:
        yield from (f"{folder}/{name}" for name in _names(folder)[:MOST] if not name.startswith((OURS, ".")))


def _text(path: str) -> str:
    """Read a file. Sites that are enabled are links, in folders where only root can write."""
    with contextlib.suppress(files.UnsafePathError, OSError):
        file = files.read(os.path.realpath(path) if path.startswith(SITES) else path, LONGEST)
        return file.content.decode("utf-8", "replace") if file else ""
    return ""


def _starters(homes: Mapping[str, str], projects: list[str]) -> Iterator[dict[str, Any]]:
    """Yield crontabs and services that start projects. HOMES are accounts by their homes, in which they can write."""
    crontabs = {CRONTAB: None, f"{CRONTABS}/root": None, **{f"{CRONTABS}/{name}": name for name in homes.values()}}
    for path, owner in crontabs.items():
        yield from cron.crontab(path, _text(path), owner, projects)
    # links above a home are the administrator's
    real = {f"{os.path.realpath(os.path.dirname(home))}/{os.path.basename(home)}": homes[home] for home in homes}
    folders = {UNITS: None, **{f"{home}/{OWN_UNITS}": name for home, name in real.items()}}
    for folder, owner in folders.items():
        for path in _paths((folder,)):
            if path.endswith(".service"):
                yield from cron.service(path, _text(path), owner, projects)


def _compose_files(folders: list[str], ours: list[str]) -> Iterator[str]:
    for folder in folders:
        inner = [f"{folder}/{name}" for name in _names(folder)[:MOST] if not name.startswith(".") and name not in ours]
        for place in [folder, *inner]:
            yield from (f"{place}/{name}" for name in COMPOSE if name in _names(place))


def _engines() -> Iterator[dict[str, Any]]:
    """Yield root's engine, and the rootless ones that are not the collection's."""
    ranges = {kind: _text(f"/etc/{kind}") for kind in ("subuid", "subgid")}
    for account in pwd.getpwall():
        path = f"/run/user/{account.pw_uid}/docker.sock"
        unit = f"{account.pw_dir}/.config/systemd/user/{UNIT}"
        has_unit = os.path.lexists(unit)
        if account.pw_uid == 0 or os.path.lexists(config_path(account.pw_name)):
            continue
        if not has_unit and not os.path.lexists(path):
            continue
        engine: dict[str, Any] = {
            "account": account.pw_name, "uid": account.pw_uid, "gid": account.pw_gid, "home": account.pw_dir,
            "unit": UNIT if has_unit else None, "on_hold": os.path.lexists(f"{account.pw_dir}/.disabled"),
            **{kind: first_range(text, account.pw_name, account.pw_uid) for kind, text in ranges.items()},
            "ranges": {kind: _count(text, account) for kind, text in ranges.items()},
        }  # fmt: skip
        advice = f"start it, as {account.pw_name}: systemctl --user start {UNIT}"
        yield {**engine, **_containers(path, advice)}
    if os.path.exists(ROOTFUL):
        nobody: dict[str, Any] = dict.fromkeys(("home", "unit", "subuid", "subgid", "ranges"))
        root = {"account": None, "uid": 0, "gid": 0, "on_hold": False, **nobody}
        yield {**root, **_containers(os.path.realpath(ROOTFUL), "start it: systemctl start docker")}


def _count(text: str, account: pwd.struct_passwd) -> int:
    return sum(entry.owner in (account.pw_name, str(account.pw_uid)) for entry in subordinate_ids.parse(text))


def _containers(path: str, advice: str) -> dict[str, Any]:
    """Return an engine's containers, and its volumes if one is a hub. It may answer anything."""
    nothing: dict[str, Any] = {"containers": [], "volumes": []}
    try:
        engine = EngineAPI(path, total=SECONDS, longest=LONGEST)
        listed = engine.call("GET", "/containers/json?all=1")
        if len(listed) > MOST:
            return {**nothing, "problem": f"it has more than {MOST} containers: adopt is for a few"}
        found = [shapes.checked(_container(engine, str(item["Id"]))) for item in listed]
        hubs = [container for container in found if lab.is_hub(container)]
        for hub in hubs:
            hub["database"] = survey_hub.database(hub["mounts"])
        volumes = survey_hub.volumes(engine) if found else []
        for container in found:
            _tell_volumes(container, {volume["name"] for volume in volumes})
        return {"containers": found, "volumes": volumes if hubs else [], "problem": None}
    except EngineError as error:
        return {**nothing, "problem": f"{error}; {advice}, and adopt again"}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return {**nothing, "problem": f"the engine at {path} does not answer as Docker does"}


def _tell_volumes(container: Mapping[str, Any], plain: Collection[str]) -> None:
    """Only the engine sees what is in a volume with another driver or options. The host sees an empty folder."""
    for mount in container["mounts"]:
        if mount["name"] and mount["name"] not in plain:
            mount["kind"] = "other"


def _container(engine: EngineAPI, identity: str) -> dict[str, Any]:
    found = engine.call("GET", f"/containers/{quote(identity, safe='')}/json")
    try:
        image = engine.call("GET", f"/images/{quote(found['Image'], safe='')}/json")
    except EngineError as error:
        if error.status != 404:
            raise
        image = {"Config": {}}  # somebody has removed it by force
    config, base, host = found["Config"], image["Config"] or {}, found["HostConfig"]
    labels = config.get("Labels") or {}
    own = [line for line in config["Env"] or [] if line not in (base.get("Env") or [])]
    same = config["Cmd"] == base.get("Cmd")
    started = parse_time(found["State"]["StartedAt"])
    if started is None:
        raise ValueError("it was started at no time")
    return {
        "name": found["Name"].lstrip("/"),
        "image": config["Image"],
        "running": bool(found["State"]["Running"]),
        "started": started.timestamp(),
        "environment": dict(line.split("=", 1) for line in own if "=" in line),
        "image_environment": [line.partition("=")[0] for line in base.get("Env") or []],
        "words": [*(config.get("Entrypoint") or []), *(config["Cmd"] or [])],
        "command": None if same else config["Cmd"],
        "entrypoint": config.get("Entrypoint") != base.get("Entrypoint"),
        "user": "" if config["User"] == base.get("User") else config["User"],
        "ports": _ports(host["PortBindings"] or {}),
        "mounts": [_mount(mount) for mount in found["Mounts"]],
        "project": labels.get("com.docker.compose.project"),
        "directory": labels.get("com.docker.compose.project.working_dir"),
        "memory": host["Memory"],
        "shm_size": host["ShmSize"],
        "cpus": host["NanoCpus"] / 1e9 if host["NanoCpus"] else None,
        "pids": host["PidsLimit"],
        "privileged": [*(["privileged"] if host["Privileged"] else []), *(host["CapAdd"] or []), *_devices(host)],
    }


def _devices(host: Mapping[str, Any]) -> list[str]:
    devices = [str(device["PathOnHost"]) for device in host["Devices"] or []]
    return devices + (["the host's network"] if host["NetworkMode"] == "host" else [])


def _ports(bindings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "container": int(inner.partition("/")[0]),
            "address": bound["HostIp"],
            "host": int(bound["HostPort"]),
        }
        for inner, all_bound in bindings.items()
        for bound in all_bound or []
        if inner.endswith("/tcp") and bound["HostPort"]
    ]


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    source = mount.get("Source") or ""
    found: dict[str, Any] = {"kind": "other", "uid": None, "gid": None, "empty": False}
    try:
        above = files.open_directory(os.path.dirname(source))
    except (files.UnsafePathError, OSError):
        above = -1
    if above >= 0:
        try:
            with contextlib.suppress(OSError):
                status = os.stat(os.path.basename(source), dir_fd=above, follow_symlinks=False)
                kind = "folder" if stat.S_ISDIR(status.st_mode) else "file" if stat.S_ISREG(status.st_mode) else "other"
                empty = kind == "file" and status.st_size == 0
                found = {"kind": kind, "uid": status.st_uid, "gid": status.st_gid, "empty": empty}
        finally:
            os.close(above)
    name, target, read_only = str(mount.get("Name") or ""), str(mount["Destination"]), not mount["RW"]
    return {"name": name, "source": str(source), "target": target, "read_only": read_only, **found}
