# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the status of a host's instances, for the module instance_status and for the host's own metrics."""

from __future__ import annotations

import math
import os
import pwd
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import config_path
from ansible_collections.carrel.jupyter.plugins.module_utils._host import backup_state, files, instance_ports, quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.deployed import Deployed
from ansible_collections.carrel.jupyter.plugins.module_utils._host.disk_usage import directory_bytes, images_bytes
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_programs import replaced
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError, run
from ansible_collections.carrel.jupyter.plugins.module_utils._host.request import ask
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION, order
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._report import status as _status
from ansible_collections.carrel.jupyter.plugins.module_utils._site.health import Seen, Target, advice, target, version

RECORDS = "var/lib/carrel"
PATHS = {"lab": "api", "hub": "hub/api"}  # these need no log-in
OPENSSL_SECONDS = 10
WORKERS = 4
ENGINE_SECONDS = 60  # for all calls to an engine about one instance
Probe = Callable[[list[int]], list[int]]
MOST_CONTAINERS = 100


def read(path: str) -> str | None:
    file = files.read(path)
    return None if file is None else file.content.decode("utf-8")


class Instance:
    """Reads one instance. ROOT is the host's root directory, or a folder in its place."""

    def __init__(self, root: str, name: str, options: dict[str, Any], now: datetime) -> None:
        self.root, self.name, self.options, self.now = root, name, options, now
        self.unreadable: list[tuple[str, str]] = []  # levels and texts
        record = f"/{RECORDS}/{self.name}/instance.json"
        self.record: dict[str, Any] = self.attempt(record, self.read_record) or {}

    def path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def attempt(self, what: str, function: Callable[..., Any], *arguments: Any, level: str = _status.WARNING) -> Any:
        """Return the function's result. If it fails, return None and remember the reason.

        It is an ERROR where nothing else would report that something has ended, such as backups.
        """
        try:
            return function(*arguments)
        except (EngineError, EndlessError, files.UnsafePathError, OSError) as error:
            self.unreadable.append((level, f"{what} cannot be read: {error}"))
        except Exception as error:  # accounts, engines and web servers may write anything
            self.unreadable.append((level, f"{what} is damaged: {error}"))
        return None

    def status(self) -> dict[str, Any]:
        """Return what is known. A fault in one instance leaves the others their status."""
        try:
            found = self._read()
            examined: dict[str, Any] = printable.clean(_status.examine(found, self.now))
        except Exception as error:
            said = f"its status is unknown, because of a {type(error).__name__}: {error}"
            known = {key: self.record.get(key) for key in ("kind", "url", "directory")}
            found = {**_status.unknown(self.name), **known, "unreadable": [*self.unreadable, (_status.ERROR, said)]}
            examined = printable.clean(_status.examine(found, self.now))
        return examined

    def _read(self) -> dict[str, Any]:
        found = {key: self.record.get(key) for key in ("kind", "state", "url", "directory")}
        own = self.record.get("own")  # not in older records
        present, hub = found["state"] == "present", found["kind"] == "hub"
        engine, api, containers = self.engine() if self.record else (None, None, [])
        found.update(
            name=self.name,
            own=[str(text) for text in own] if isinstance(own, list) else [],
            site=self.attempt("the URL", self.site) if present else None,
            reset=self.attempt(f"/{RECORDS}/{self.name}/reset/state.json", self.reset),
            schedule=self.attempt(f"/etc/carrel/reset/{self.name}.json", self.schedule, level=_status.ERROR),
            backup=self.attempt("the backup's state", backup_state.read, self.root, self.name, level=_status.ERROR),
            engine=engine,
            ports=self.attempt("the ports", instance_ports.read, self.root, self.record, self.options["open_ports"]),
            containers=self.attempt("the containers", self.containers, api, containers) if api else None,
            images=self.attempt("the users' images", self.images, api) if hub and api else None,
            users=self.attempt("roster.json", self.users, containers) if hub else None,
            disk=self.attempt("the disk", self.disk, api) if self.record else None,
            unreadable=self.unreadable,
        )
        if self.record and self.options.get("drift"):
            found["drift"] = self.drift(api, containers)
        return found

    def read_record(self) -> dict[str, Any]:
        text = read(self.path(RECORDS, self.name, "instance.json"))
        if text is None:
            raise FileNotFoundError("there is no such instance on this host")
        record = parse_instance(text)
        for key, possible in (("state", _status.STATES), ("kind", PATHS)):
            if record.get(key) not in possible:
                raise ValueError(f"its {key} is {record.get(key)!r}")
        return record

    def site(self) -> dict[str, Any]:
        asked = target(self.record["url"], PATHS[self.record["kind"]])
        start = time.monotonic()
        connect_to = self.options["connect_to"] or asked.host
        seen = ask(asked, connect_to, self.options["timeout_seconds"], validate=False)
        milliseconds = round(1000 * (time.monotonic() - start))
        # Another program at the port, or a page of another server in front, may answer 200, too.
        answers = seen.status == 200 and version(seen.body) is not None
        return {
            "answers": answers,
            "status": seen.status,
            "milliseconds": milliseconds,
            "error": None if answers else self.why(seen, connect_to, asked),
            "certificate": self.attempt("the certificate", self.certificate, seen.certificate),
        }

    def why(self, seen: Seen, connect_to: str, asked: Target) -> str:
        if seen.status == 200:
            return "something else than Jupyter answers there, such as another account's program or a page of a proxy"
        return f"{seen}. {advice(seen, connect_to, asked)}"

    def certificate(self, der: bytes) -> dict[str, Any] | None:
        if not der:
            return None
        text = ssl.DER_cert_to_PEM_cert(der)
        done = run(["openssl", "x509", "-noout", "-enddate"], OPENSSL_SECONDS, data=text)
        if done.code != 0:
            raise ValueError(done.errors.strip())
        return _status.certificate(done.output, self.now)

    def reset(self) -> dict[str, Any] | None:
        folder = self.path(RECORDS, self.name, "reset")
        for _unused in range(2):  # a reset may begin or end between the two reads
            held = locked(f"{folder}/lock")
            text = read(f"{folder}/state.json")
            last = None if text is None else _status.reset(text, held)
            if last is None or last["result"] != "interrupted":
                break
        return last

    def schedule(self) -> dict[str, Any] | None:
        jobs = [self.path("etc", folder, f"carrel-{self.name}") for folder in ("cron.d", "cron.daily")]
        since = max((os.stat(job).st_mtime for job in jobs if os.path.exists(job)), default=None)
        text = read(self.path("etc/carrel/reset", f"{self.name}.json"))
        if text is None or since is None:
            return None
        settings = parse_instance(text)
        zone = self.zone(settings["timezone"])
        upcoming = _status.next_time(settings["at"], self.now, zone)
        return {
            "at": settings["at"],
            "timezone": settings["timezone"],
            "next": upcoming,
            "since": datetime.fromtimestamp(since, timezone.utc).isoformat(),
        }

    def zone(self, name: str | None) -> ZoneInfo:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)

    def engine(self) -> tuple[dict[str, Any], EngineAPI | None, list[Any]]:
        """Return the engine's facts, its API, and all of its containers."""
        account = str(self.record.get("engine"))
        try:
            uid = pwd.getpwnam(account).pw_uid
            socket = self.path("run/user", str(uid), "docker.sock")
            api = EngineAPI(socket, self.options["timeout_seconds"], ENGINE_SECONDS)
            containers = api.call("GET", "/containers/json?all=1")
        except KeyError:
            error = f"the host has no account {account}"
        except (EngineError, ValueError) as problem:
            error = str(problem)
        else:
            return {"name": account, "running": True, "error": None, "replaced": replaced(uid)}, api, containers
        return {"name": account, "running": False, "error": error, "replaced": []}, None, []

    def containers(self, api: EngineAPI, listed: list[Any]) -> list[dict[str, Any]]:
        own = [entry["Id"] for entry in listed if _status.is_own(entry, self.name)]
        if len(own) > MOST_CONTAINERS:
            raise ValueError(f"the engine lists {len(own)} containers")
        found = []
        for identity in own:
            inspected = api.call("GET", f"/containers/{identity}/json")
            image, tagged = (self.image(api, name) for name in (inspected["Image"], inspected["Config"]["Image"]))
            found.append(_status.container(inspected, image, tagged))
        return sorted(found, key=lambda entry: str(entry["name"]))

    def image(self, api: EngineAPI, reference: str) -> dict[str, Any] | None:
        try:
            image: dict[str, Any] = api.call("GET", f"/images/{quote(reference)}/json")
        except EngineError as error:
            if error.status != 404:
                raise
            return None
        return image

    def images(self, api: EngineAPI) -> list[dict[str, Any]]:
        config = parse_instance(read(self.hub_file("config.json")) or "{}")
        tags = [entry["image"] for entry in config.get("images", [])]
        return [_status.image(tag, self.image(api, tag)) for tag in tags]

    def drift(self, api: EngineAPI | None, listed: list[Any]) -> dict[str, int] | None:
        """Return how much differs from what the site playbook last deployed, by what it is.

        None if a newer version of the collection deployed it, which may do so in another way than this one knows.
        """
        if order(str(self.record.get("collection"))) > order(VERSION):
            return None
        deployed = Deployed(self.root, self.record)
        changed = self.attempt("what was deployed", deployed.changed_files)
        counted = self.attempt("the compose project", deployed.differences, api, listed) if api else None
        return {**({} if changed is None else {"files": len(changed)}), **(counted or {})}

    def hub_file(self, name: str) -> str:
        return self.path(self.record["directory"].lstrip("/"), "hub", name)

    def users(self, containers: list[Any]) -> dict[str, Any]:
        roster = read(self.hub_file("roster.json"))
        sizes = self.attempt("disk.json", _status.sizes, roster or "", read(self.hub_file("disk.json")))
        known, servers = _status.people(roster or ""), _status.servers(containers, self.name)
        return {"known": known, "servers": servers, "sizes": sizes or []}

    def limit(self, directory: str) -> dict[str, int] | None:
        """Return the size and the limit of a lab's folders together, if the file system enforces it.

        The kernel tells them only to programs that may also set them (quotactl(2)). carrel-metrics may not.
        """
        try:
            folder = files.open_directory(f"{directory}/data/notebooks")
        except FileNotFoundError:
            return None
        try:
            quota = quotas.examine(folder)
        except PermissionError:
            return None
        finally:
            os.close(folder)
        return {"bytes": quota.used, "most": quota.own_limit, "files": quota.files} if quota.own_limit else None

    def disk_seconds(self) -> float:
        """Return how long the next measurement may take. The run of carrel-metrics has an end of its own."""
        return left(self.options["disk_timeout_seconds"], self.options.get("end", math.inf))

    def disk(self, api: EngineAPI | None) -> dict[str, Any]:
        directory = self.path(self.record["directory"].lstrip("/"))
        notes: list[str] = []
        measures = self.options["disk"]
        limit = self.limit(directory) if self.record["kind"] == "lab" else None
        return {
            "limit": limit,
            "directory_bytes": directory_bytes(directory, self.disk_seconds(), notes) if measures else None,
            "images_bytes": images_bytes(api.path, self.disk_seconds(), notes) if measures and api else None,
            **file_system(directory),
            "engine": self.attempt("the engine's disk", self.engine_disk, directory),
            "notes": notes,
        }

    def engine_disk(self, directory: str) -> dict[str, Any] | None:
        """Describe the file system of the engine's data root, if it is another one than that of the DIRECTORY."""
        text = read(self.path(config_path(str(self.record.get("engine"))).lstrip("/")))
        root = parse_instance(text).get("data-root") if text else None
        place = self.path(str(root).lstrip("/")) if root else None
        if place is None or not os.path.isdir(place) or os.stat(place).st_dev == os.stat(directory).st_dev:
            return None
        return {"directory": str(root), **file_system(place)}


def file_system(directory: str) -> dict[str, int]:
    system = os.statvfs(directory)
    return {
        "free_bytes": system.f_bavail * system.f_frsize,
        "used_percent": _status.percent_used(system.f_bfree, system.f_blocks, system.f_bavail),
        # btrfs has no fixed number of files, and says 0
        "files_percent": _status.percent_used(system.f_ffree, system.f_files, system.f_favail),
    }


def left(seconds: float, end: float) -> float:
    """Return SECONDS, or less if the monotonic clock shows END before."""
    return min(seconds, max(end - time.monotonic(), 0))


def recorded(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(os.path.join(root, RECORDS)))
    except FileNotFoundError:
        return []
    return [name for name in names if os.path.lexists(os.path.join(root, RECORDS, name, "instance.json"))]


def collect(root: str, options: dict[str, Any], now: datetime, probe: Probe = lambda ports: []) -> list[dict[str, Any]]:
    """Return the status of the instances. PROBE tells which ports of this host any account can bind."""
    names = recorded(root) if options["names"] is None else sorted(set(options["names"]))
    options = {**options, "open_ports": []}
    instances = [Instance(root, name, options, now) for name in names]
    records = [instance.record for instance in instances]
    options["open_ports"] = probe([port for record in records for port in instance_ports.recorded(record)])
    pool = ThreadPoolExecutor(WORKERS)
    try:
        return list(pool.map(Instance.status, instances))
    finally:
        # A program that is told to end does not wait for what is being measured.
        pool.shutdown(wait=False, cancel_futures=True)
