#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_info
short_description: Read which instances and engines a host has
version_added: 0.1.0
description:
  - Reads what P(carrel.jupyter.plan#module) must know about a host, so that existing instances keep their ports and
    accounts.
  - Needs only Python on the host, and root's rights. Other accounts do not see which engines run, and cannot read the
    record of a hub that was taken over; then the module fails.
author:
  - the carrel.jupyter authors (@carrel)
options:
  names:
    description:
      - Names of accounts and groups to look up, in addition to those that the host lists. A name service such as SSSD
        finds names, but does not list them.
    type: list
    elements: str
    default: []
  time_zones:
    description: Names of time zones to look for.
    type: list
    elements: str
    default: []
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
  - module: carrel.jupyter.instance_status
  - module: carrel.jupyter.plan
"""

EXAMPLES = r"""
- name: Read what the host has
  carrel.jupyter.instance_info:
  register: host

- name: Plan with the result
  carrel.jupyter.plan:
    current: "{{ host }}"
  register: planned
"""

RETURN = r"""
instances:
  description: The content of each C(/var/lib/carrel/NAME/instance.json) by name.
  type: dict
  returned: success
  sample:
    tao:
      name: tao
      kind: lab
      collection: 0.1.0
      state: present
      engine: tao
      directory: /srv/tao
      port: 8801
      url: https://example.org/tao/
engines:
  description:
    - Each engine with a folder in C(/etc/rootless-docker), by name.
    - C(engines.NAME.uid) and the keys that depend on it are null if the account does not exist; a range is null if the
      account has none.
    - C(engines.NAME.running) says whether its socket is there, and is its own.
    - C(engines.NAME.controllers) are the cgroup controllers that the account's containers have; a limit without its
      controller is not enforced.
  type: dict
  returned: success
  sample:
    tao:
      uid: 1001
      gid: 1001
      home: /home/tao
      socket: /run/user/1001/docker.sock
      subuid: {start: 165536, count: 65536}
      subgid: {start: 165536, count: 65536}
      running: true
      controllers: [cpu, memory, pids]
taken_in_part:
  description: The hubs whose takeover, or its way back, has begun and is not complete. The site playbook refuses them.
  type: list
  elements: str
  returned: success
  sample: []
packages:
  description: The Debian packages that are installed.
  type: list
  elements: str
  returned: success
  sample: [apache2, cron]
accounts:
  description: The uids of all accounts that the host lists, and of existing ones in O(names).
  type: dict
  returned: success
  sample: {root: 0, tao: 1001}
groups:
  description: The names of all groups that the host lists, and of existing ones in O(names).
  type: list
  elements: str
  returned: success
  sample: [root, tao]
unknown_time_zones:
  description: The time zones of O(time_zones) that the host does not have.
  type: list
  elements: str
  returned: success
  sample: [US/Eastern]
listening_ports:
  description: TCP ports on which the host listens, on any address.
  type: list
  elements: int
  returned: success
  sample: [22, 443, 8801]
ephemeral_ports:
  description: First and last of the ports that the kernel gives to programs that ask for any free one; null if unknown.
  type: list
  elements: int
  returned: success
  sample: [32768, 60999]
memory_bytes:
  description: The host's memory.
  type: int
  returned: success
  sample: 16777216000
cpus:
  description: The processors that the host may use.
  type: int
  returned: success
  sample: 8
"""

import contextlib
import grp
import os
import pwd
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_socket
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import (
    first_range,
    installed_packages,
    listening_ports,
    memory_bytes,
    parse_instance,
    port_range,
)

# zoneinfo's own places (PEP 615)
ZONES = ("usr/share/zoneinfo", "usr/lib/zoneinfo", "usr/share/lib/zoneinfo", "etc/zoneinfo")
ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
CONTROLLERS = "sys/fs/cgroup/user.slice/user-{0}.slice/user@{0}.service/cgroup.controllers"


class Broken(Exception):
    """A file of ours that cannot be parsed."""


def read_text(path: Path) -> str:
    """The file's text; nothing where there is no file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def folders(path: Path) -> list[Path]:
    """Those with a name that may be an instance's: a purge moves what it deletes to others."""
    return sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".") if path.is_dir() else []


def read_instances(root: Path) -> dict[str, Any]:
    instances = {}
    for folder in folders(root / "var/lib/carrel"):
        file = folder / "instance.json"
        if not file.is_file():
            continue
        try:
            instances[folder.name] = parse_instance(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Broken(
                f"{file} is broken: {error}. Restore it from a backup, or write"
                f' {{"name": "{folder.name}", "kind": "lab", "engine": ENGINE, "port": PORT, "url": URL}} to it'
            ) from error
    return instances


def read_engines(root: Path, accounts: dict[str, pwd.struct_passwd]) -> dict[str, Any]:
    subuid, subgid = read_text(root / "etc/subuid"), read_text(root / "etc/subgid")
    engines: dict[str, Any] = {}
    for folder in folders(root / "etc/rootless-docker"):
        name = folder.name
        account = accounts.get(name)
        uid = account.pw_uid if account else None
        engines[name] = {
            "uid": uid,
            "gid": account.pw_gid if account else None,
            "home": account.pw_dir if account else None,
            "socket": f"/run/user/{uid}/docker.sock" if account else None,
            "subuid": first_range(subuid, name, uid),
            "subgid": first_range(subgid, name, uid),
            "running": account is not None and engine_socket.is_own(f"{root}/run/user/{uid}/docker.sock"),
            "controllers": read_text(root / CONTROLLERS.format(uid)).split(),
        }
    return engines


def taken_in_part(root: Path) -> list[str]:
    """Hubs whose takeover has begun, while not everybody's files are there, and those that are being given back."""
    names = []
    for folder in folders(root / "etc/carrel/adopted"):
        text = read_text(folder / "record.json")
        try:
            record = parse_instance(text) if text else {}
            if record.get("state") in ("ending", "taking", "returning") and "hub" in record["entry"]:
                names.append(folder.name)
        except (ValueError, LookupError, TypeError) as error:
            raise Broken(f"{folder}/record.json is broken: {error}. Restore it from a backup") from error
    return names


def collect(root: Path, accounts: dict[str, pwd.struct_passwd]) -> dict[str, Any]:
    ports = listening_ports(read_text(root / "proc/net/tcp")) | listening_ports(read_text(root / "proc/net/tcp6"))
    return {
        "instances": read_instances(root),
        "taken_in_part": taken_in_part(root),
        "engines": read_engines(root, accounts),
        "packages": installed_packages(read_text(root / "var/lib/dpkg/status")),
        "accounts": {name: account.pw_uid for name, account in accounts.items()},
        "listening_ports": sorted(ports),
        "ephemeral_ports": port_range(read_text(root / "proc/sys/net/ipv4/ip_local_port_range")),
        "memory_bytes": memory_bytes(read_text(root / "proc/meminfo")),
        "cpus": len(os.sched_getaffinity(0)),
    }


def find_accounts(names: Iterable[str]) -> dict[str, pwd.struct_passwd]:
    """All that are listed, and those that are found by name only."""
    found = {account.pw_name: account for account in pwd.getpwall()}
    for name in names:
        with contextlib.suppress(KeyError, ValueError):  # ValueError: a name that none can be
            found[name] = pwd.getpwnam(name)
    return found


def find_groups(names: Iterable[str]) -> list[str]:
    found = {group.gr_name for group in grp.getgrall()}
    for name in names:
        with contextlib.suppress(KeyError, ValueError):
            grp.getgrnam(name)
            found.add(name)
    return sorted(found)


def unknown_zones(root: Path, names: Iterable[str]) -> list[str]:
    folders_of_zones = [root / folder for folder in ZONES]
    return [
        name
        for name in names
        if not ZONE.fullmatch(name) or not any((folder / name).is_file() for folder in folders_of_zones)
    ]


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(argument_spec={"names": names, "time_zones": names}, supports_check_mode=True)
    asked, root = module.params["names"], Path("/")
    engines = [folder.name for folder in folders(root / "etc/rootless-docker")]
    try:
        module.exit_json(
            changed=False,
            groups=find_groups(asked),
            unknown_time_zones=unknown_zones(root, module.params["time_zones"]),
            **collect(root, find_accounts([*asked, *engines])),
        )
    except Broken as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        more = ". This module needs root's rights; use become: true" if isinstance(error, PermissionError) else ""
        module.fail_json(msg=f"{error.filename or 'a file'} cannot be read: {error.strerror}{more}")


if __name__ == "__main__":
    main()
