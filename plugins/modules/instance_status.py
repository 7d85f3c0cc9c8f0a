#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_status
short_description: Read how the instances of a host are
version_added: 0.1.0
description:
  - For each instance, whether its public URL answers, which containers and images run, how the last reset went, how
    many people are there, how much disk it takes, and what is wrong.
  - What cannot be read is a problem in the result; the module itself does not fail for it.
  - Changes nothing. It must be root, to read the instances' files and ask their engines.
author:
  - the carrel.jupyter authors (@carrel)
options:
  names:
    description:
      - The instances to look at.
      - Left out, all that are recorded in C(/var/lib/carrel).
    type: list
    elements: str
  connect_to:
    description: The address to connect to for the public URLs. The port is the URL's.
    type: str
    default: 127.0.0.1
  timeout_seconds:
    description: How long a URL or an engine may take for an answer.
    type: int
    default: 10
  disk:
    description: Whether to add up the disk that the instances' directories and the engines' images take.
    type: bool
    default: true
  disk_timeout_seconds:
    description: How long that may take for one instance. What did not end in time is null, and a note says so.
    type: int
    default: 30
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Nothing is ever changed.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_info
  - module: carrel.jupyter.site_health
"""

EXAMPLES = r"""
- name: Look at all instances
  carrel.jupyter.instance_status:
  register: status

- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.problems | map(attribute='text') | join('; ') }}"
  loop: "{{ status.instances | selectattr('problems') }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
instances:
  description: Sorted by name; what is not known is null.
  returned: success
  type: list
  elements: dict
  contains:
    name: {type: str, description: The instance., returned: always}
    kind: {type: str, description: V(lab) or V(hub)., returned: always}
    state: {type: str, description: As declared., returned: always}
    url: {type: str, description: The public URL., returned: always}
    directory: {type: str, description: Where the instance is., returned: always}
    health:
      description: V(ok), V(warning) or V(error), as the worst problem; without one, a state that is not V(present).
      type: str
      returned: always
    problems:
      description: What is wrong, worst first, as C(level) (V(error) or V(warning)) and C(text).
      type: list
      elements: dict
      returned: always
      sample: [{level: warning, text: "the certificate ends in 9 days, on 2030-01-10"}]
    site:
      description:
        - C(answers), C(status), C(milliseconds), C(error), and with TLS C(certificate) with C(ends) and C(days_left).
        - Null unless the instance is present.
      type: dict
      returned: always
      sample: {answers: false, status: 502, milliseconds: 31, error: "status 502. Apache answers, …", certificate: null}
    engine: {type: dict, description: "C(name), C(running), C(error), C(replaced).", returned: always}
    ports:
      description: C(taken), who listens on one in place of the engine, and C(open), which any account could take.
      type: dict
      returned: always
      sample: {taken: [], open: []}
    containers:
      description:
        - Of the instance itself, without users' servers.
        - C(as_tagged) says whether the image is the one that its tag means in the engine now; null if the tag is gone.
      type: list
      elements: dict
      returned: always
      sample:
        - name: tao-lab-1-1
          service: lab-1
          state: running
          health: healthy
          since: "2030-01-01T01:25:31.120283739Z"
          image: registry.example.org/lab:1.0
          image_id: sha256:164a96f1e58d
          digest: sha256:d044015f3797
          as_tagged: true
    images:
      description: Of hubs, those that users' servers start from; C(image_id) is null if the engine has none.
      type: list
      elements: dict
      returned: always
      sample: [{image: "registry.example.org/lab:1.0", image_id: "sha256:164a96f1e58d", digest: "sha256:d044015f3797"}]
    reset:
      description:
        - The last one, C(result) (V(running), V(done), V(failed), V(put off), V(held) or V(interrupted)), C(step),
          C(message), C(started), C(ended), C(warnings), and C(put_off), how many times in a row.
      type: dict
      returned: always
      sample:
        result: done
        step: prune
        message: done
        started: "2030-01-01T01:24:50+00:00"
        ended: "2030-01-01T01:25:40+00:00"
        warnings: []
        put_off: 0
    schedule:
      description: C(at), C(timezone), C(next), the next time, C(since), when cron got the job; null without one.
      type: dict
      returned: always
      sample: {at: "01:25", timezone: null, next: "2030-01-02T01:25:00+01:00", since: "2029-12-01T10:00:00+00:00"}
    users: {type: dict, description: "Of hubs, C(known) in the roster and C(servers) that run.", returned: always}
    disk:
      description:
        - Bytes of the instance's directory and of its engine's images; of the directory's file system, the bytes that
          are free and how full it is; C(notes) on what is left out.
      type: dict
      returned: always
      sample: {directory_bytes: 1200, images_bytes: 569346289, free_bytes: 16777216000, used_percent: 41, notes: []}
"""

import os
import pwd
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, instance_ports
from ansible_collections.carrel.jupyter.plugins.module_utils._host.disk_usage import directory_bytes, images_bytes
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_programs import replaced
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._host.port_probe import open_to_others
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.request import ask
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._report import status as _status
from ansible_collections.carrel.jupyter.plugins.module_utils._site.health import advice, target

RECORDS = "var/lib/carrel"
PATHS = {"lab": "api", "hub": "hub/api"}  # what answers without a log-in
WORKERS = 4
ENGINE_SECONDS = 60  # for all that an engine is asked about an instance
Probe = Callable[[list[int]], list[int]]
MOST_CONTAINERS = 100


def read(path: str) -> str | None:
    file = files.read(path)
    return None if file is None else file.content.decode("utf-8")


class Instance:
    """Reads one instance, below the folder that stands for the host's root."""

    def __init__(self, root: str, name: str, options: dict[str, Any], now: datetime) -> None:
        self.root, self.name, self.options, self.now = root, name, options, now
        self.unreadable: list[str] = []
        record = f"/{RECORDS}/{self.name}/instance.json"
        self.record: dict[str, Any] = self.attempt(record, self.read_record) or {}

    def path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def attempt(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; where it fails, None, and the reason is kept."""
        try:
            return function(*arguments)
        except (EngineError, EndlessError, files.UnsafePathError, OSError, subprocess.SubprocessError) as error:
            self.unreadable.append(f"{what} cannot be read: {error}")
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            self.unreadable.append(f"{what} is damaged: {error}")
        return None

    def status(self) -> dict[str, Any]:
        found = {key: self.record.get(key) for key in ("kind", "state", "url", "directory")}
        present, hub = found["state"] == "present", found["kind"] == "hub"
        engine, api, containers = self.engine() if self.record else (None, None, [])
        found.update(
            name=self.name,
            site=self.attempt("the URL", self.site) if present else None,
            reset=self.attempt(f"/{RECORDS}/{self.name}/reset/state.json", self.reset),
            schedule=self.attempt(f"/etc/carrel/reset/{self.name}.json", self.schedule),
            engine=engine,
            ports=self.attempt("the ports", instance_ports.read, self.root, self.record, self.options["open_ports"]),
            containers=self.attempt("the containers", self.containers, api, containers) if api else None,
            images=self.attempt("the users' images", self.images, api) if hub and api else None,
            users=self.attempt("roster.json", self.users, containers) if hub else None,
            disk=self.attempt("the disk", self.disk, api) if self.record else None,
            unreadable=self.unreadable,
        )
        examined: dict[str, Any] = printable.clean(_status.examine(found, self.now))
        return examined

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
        seen = ask(asked, self.options["connect_to"], self.options["timeout_seconds"], validate=False)
        milliseconds = round(1000 * (time.monotonic() - start))
        answers = seen.status == 200
        return {
            "answers": answers,
            "status": seen.status,
            "milliseconds": milliseconds,
            "error": None if answers else f"{seen}. {advice(seen, self.options['connect_to'], asked)}",
            "certificate": self.attempt("the certificate", self.certificate, seen.certificate),
        }

    def certificate(self, der: bytes) -> dict[str, Any] | None:
        if not der:
            return None
        command = ["openssl", "x509", "-inform", "DER", "-noout", "-enddate"]
        said = subprocess.run(command, input=der, capture_output=True, check=True, timeout=10).stdout
        return _status.certificate(said.decode("ascii"), self.now)

    def reset(self) -> dict[str, Any] | None:
        folder = self.path(RECORDS, self.name, "reset")
        for _unused in range(2):  # a reset may begin or end between the two looks
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
        """The engine, how to ask it, and all its containers."""
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
            raise ValueError(f"the engine tells of {len(own)} containers")
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

    def hub_file(self, name: str) -> str:
        return self.path(self.record["directory"].lstrip("/"), "hub", name)

    def users(self, containers: list[Any]) -> dict[str, Any]:
        roster = read(self.hub_file("roster.json"))
        return {"known": _status.people(roster or ""), "servers": _status.servers(containers, self.name)}

    def disk(self, api: EngineAPI | None) -> dict[str, Any]:
        directory = self.path(self.record["directory"].lstrip("/"))
        system = os.statvfs(directory)
        notes: list[str] = []
        seconds = self.options["disk_timeout_seconds"]
        return {
            "directory_bytes": directory_bytes(directory, seconds, notes) if self.options["disk"] else None,
            "images_bytes": images_bytes(api.path, seconds, notes) if self.options["disk"] and api else None,
            "free_bytes": system.f_bavail * system.f_frsize,
            "used_percent": _status.percent_used(system.f_bfree, system.f_blocks, system.f_bavail),
            "notes": notes,
        }


def recorded(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(os.path.join(root, RECORDS)))
    except FileNotFoundError:
        return []
    return [name for name in names if os.path.lexists(os.path.join(root, RECORDS, name, "instance.json"))]


def collect(root: str, options: dict[str, Any], now: datetime, probe: Probe = lambda ports: []) -> list[dict[str, Any]]:
    """PROBE says which ports of the host itself any account can bind."""
    names = recorded(root) if options["names"] is None else sorted(set(options["names"]))
    options = {**options, "open_ports": []}
    instances = [Instance(root, name, options, now) for name in names]
    records = [instance.record for instance in instances]
    options["open_ports"] = probe([port for record in records for port in instance_ports.recorded(record)])
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(Instance.status, instances))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "connect_to": {"type": "str", "default": "127.0.0.1"},
            "timeout_seconds": {"type": "int", "default": 10},
            "disk": {"type": "bool", "default": True},
            "disk_timeout_seconds": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, instances=collect("/", module.params, datetime.now(timezone.utc), open_to_others))


if __name__ == "__main__":
    main()
