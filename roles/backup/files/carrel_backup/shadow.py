# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shadow: a temporary server on a drill's files, from the image of the snapshot, to try them.

Its only network is its own loopback, so that nobody can reach it and it can reach nobody; it uses no port of the host.
People's own settings, such as their kernels, are left out: if they are broken, the backup can still be good.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from . import containers, images, restore
from .commands import CommandError
from .images import Server
from .run import BackupError, Run

LABEL = "carrel.drill"
MARK = "-drill"  # the end of the name of a drill's directory
CONFIG = "/etc/carrel"
PORT = 8888
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = ("probe.py", "kernel_client.py")
PROBE_SECONDS = 300
# By the controller's name in `docker info`: an engine without it refuses the limit, or warns.
LIMITS = {"MemoryLimit": "--memory=1g", "CpuCfsQuota": "--cpus=1", "PidsLimit": "--pids-limit=512"}
LAST_LINES = 5
HUBS = "data/hub"  # the hub's own containers, which are not a user's server
OWN = "/tmp/carrel-drill"  # noqa: S108 - in a container that nobody else is in
ENVIRONMENT = {
    "JUPYTER_CONFIG_PATH": CONFIG,
    "JUPYTER_CONFIG_DIR": f"{OWN}/config",
    "JUPYTER_DATA_DIR": f"{OWN}/data",
    "JUPYTER_RUNTIME_DIR": f"{OWN}/runtime",
    "IPYTHONDIR": f"{OWN}/ipython",
    "PYTHONNOUSERSITE": "1",  # nor packages that people installed
}


def clear(run: Run) -> None:
    """Remove what a killed drill left."""
    try:
        if containers.listens(run.settings.socket):
            for container in run.containers(f"label={LABEL}={run.settings.name}", running=False):
                remove(run, container["ID"])
            images.remove_pulled(run)
        folder = f"{run.settings.directory}/{restore.BESIDE}"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name.endswith(MARK):
                restore.remove_beside(run, f"{folder}/{name}")
    except (CommandError, OSError, ValueError) as error:
        run.warn(f"files or containers of a drill were not removed; the next run tries again: {error}")


def look(run: Run, server: Server, tree: str, leaf: str, owner: tuple[int, int]) -> dict[str, Any] | None:
    """Start the server on a restored directory and use it; return what it did. None if the engine does not run.

    Raises BackupError and CommandError. If only the image cannot be pulled, it warns.
    """
    if not containers.listens(run.settings.socket):
        run.step("shadow", "the engine does not run, so no server is started")
        return None
    try:
        images.fetch_for_a_look(run, server)
    except BackupError as error:
        images.remove_pulled(run)
        run.warn(f"no server was started: {error}")
        return None
    run.step("shadow", f"start {server.image} ({server.id[7:19]}) on {leaf}")
    try:
        given = {"jupyter_server_config.json": json.dumps(settings(server)), **programs()}
        run.inside("write", f"{tree}/shadow", given=given)
        identity = run.docker(*command(run, server, tree, leaf, owner)).strip()
        try:
            return found(use(run, server, identity))
        except (CommandError, BackupError) as error:
            raise BackupError(f"the server on the restored files: {error}{last_lines(run, identity)}") from error
        finally:
            remove(run, identity)
    finally:
        images.remove_pulled(run)


def settings(server: Server) -> dict[str, Any]:
    """The server's configuration, with a secret for this run only; with the names of jupyter_server 1.x and 2.x."""
    token = secrets.token_hex(32)
    return {
        "ServerApp": {
            "allow_root": True, "base_url": "/", "ip": "127.0.0.1", "open_browser": False, "port": PORT,
            "port_retries": 0, "root_dir": server.target, "token": token,
        },
        "IdentityProvider": {"token": token},
    }  # fmt: skip


def command(run: Run, server: Server, tree: str, leaf: str, owner: tuple[int, int]) -> list[str]:
    """docker's arguments. The server runs as the owner of the files, or becomes that user as in docker-stacks."""
    uid, gid = owner
    environment = {**ENVIRONMENT, **({"NB_UID": uid, "NB_GID": gid} if server.root and uid else {})}
    user, guards = f"{uid}:{gid}", ["--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
    if server.root or uid == 0:
        user, guards = "0:0", ["--cap-drop=NET_RAW"]
    return [
        "run", "--detach", "--pull=never", "--network=none", "--no-healthcheck", f"--label={LABEL}={run.settings.name}",
        "--log-driver=json-file", "--log-opt=max-size=1m", f"--user={user}", *guards, *limits(run),
        *(f"--env={name}={value}" for name, value in environment.items()),
        mount(f"{tree}/instance/{leaf}", server.target), mount(f"{tree}/shadow", CONFIG, "readonly"),
        server.id, *(server.command or []),
    ]  # fmt: skip


def limits(run: Run) -> list[str]:
    info = json.loads(run.docker("info", "--format={{json .}}"))
    return [option for name, option in LIMITS.items() if info.get(name)]


def mount(source: str, target: str, *more: str) -> str:
    """An option for any path: its value is a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}", *more])
    return f"--mount={text.getvalue()}"


def programs() -> dict[str, str]:
    """The files that try the server in its container."""
    found = {}
    for name in PROGRAMS:
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            found[name] = file.read()
    return found


def use(run: Run, server: Server, identity: str) -> str:
    arguments = [f"{CONFIG}/probe.py", f"{CONFIG}/jupyter_server_config.json", server.target]
    return run.docker("exec", identity, server.python, "-I", *arguments, seconds=PROBE_SECONDS)


def found(said: str) -> dict[str, Any]:
    """The probe's results. Anybody may have taken over the container, so they are checked."""
    try:
        content: Mapping[str, Any] = json.loads(said)
        return {"version": str(content["version"])[:40], "kernel": str(content["kernel"])[:80],
                "shown": int(content["shown"]), "read": int(content["read"])}  # fmt: skip
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BackupError("the probe gave no answer") from error


def last_lines(run: Run, identity: str) -> str:
    with contextlib.suppress(CommandError):
        lines = run.docker("logs", f"--tail={LAST_LINES}", identity, errors_too=True).strip()
        return f"; its last lines: {lines[-1000:]}" if lines else ""
    return ""


def remove(run: Run, identity: str) -> None:
    run.docker("rm", "--force", "--volumes", identity)


def first_of(leaves: Sequence[str], nodes: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[int, int]] | None:
    """The directory for the server, and its owner: a home if there is one, or another directory."""
    by_path = {node["path"]: node for node in nodes if node.get("type") == "dir"}
    for leaf in sorted(leaves, key=lambda leaf: not leaf.endswith("/home")):
        node = by_path.get(f"/instance/{leaf}")
        if node is not None and leaf != HUBS:
            return leaf, (int(node.get("uid", 0)), int(node.get("gid", 0)))
    return None
