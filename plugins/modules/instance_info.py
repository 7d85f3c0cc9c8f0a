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
  - Reads what P(carrel.jupyter.plan#module) must know about a host, so that what exists keeps its port and its account.
  - Needs nothing but Python on the host, and no privilege.
author:
  - the carrel.jupyter authors (@carrel)
options: {}
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
  - module: carrel.jupyter.plan
"""

EXAMPLES = r"""
- name: Read what the host has
  carrel.jupyter.instance_info:
  register: host

- name: Plan with it
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
      state: present
      engine: tao
      directory: /srv/tao
      port: 8801
      url: https://example.org/tao/
engines:
  description:
    - Each engine with a folder in C(/etc/rootless-docker), by name.
    - C(engines.NAME.uid) and what follows from it is null while the account does not exist, a range while it has none.
    - C(engines.NAME.running) says whether its socket is there.
    - C(engines.NAME.controllers) are the cgroup controllers that the account's containers have; a limit without its
      controller does not hold.
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
packages:
  description: The Debian packages that are installed.
  type: list
  elements: str
  returned: success
  sample: [apache2, cron]
accounts:
  description: The uid of every account of the host.
  type: dict
  returned: success
  sample: {root: 0, tao: 1001}
groups:
  description: The names of the host's groups.
  type: list
  elements: str
  returned: success
  sample: [root, tao]
listening_ports:
  description: TCP ports on which the host listens, on any address.
  type: list
  elements: int
  returned: success
  sample: [22, 443, 8801]
ephemeral_ports:
  description: First and last of the ports that the kernel gives to whoever asks for any; null if it does not say.
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

import grp
import os
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host_facts import (
    first_range,
    installed_packages,
    listening_ports,
    memory_bytes,
    parse_instance,
    port_range,
)

CONTROLLERS = "sys/fs/cgroup/user.slice/user-{0}.slice/user@{0}.service/cgroup.controllers"


class Broken(Exception):
    """A file of ours that can't be understood."""


def read_text(path: Path) -> str:
    """The file's text; nothing where there is no file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []


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
            "running": account is not None and (root / f"run/user/{uid}/docker.sock").exists(),
            "controllers": read_text(root / CONTROLLERS.format(uid)).split(),
        }
    return engines


def collect(root: Path, accounts: dict[str, pwd.struct_passwd]) -> dict[str, Any]:
    ports = listening_ports(read_text(root / "proc/net/tcp")) | listening_ports(read_text(root / "proc/net/tcp6"))
    return {
        "instances": read_instances(root),
        "engines": read_engines(root, accounts),
        "packages": installed_packages(read_text(root / "var/lib/dpkg/status")),
        "accounts": {name: account.pw_uid for name, account in accounts.items()},
        "listening_ports": sorted(ports),
        "ephemeral_ports": port_range(read_text(root / "proc/sys/net/ipv4/ip_local_port_range")),
        "memory_bytes": memory_bytes(read_text(root / "proc/meminfo")),
        "cpus": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    try:
        groups = sorted(group.gr_name for group in grp.getgrall())
        module.exit_json(changed=False, groups=groups, **collect(Path("/"), accounts))
    except Broken as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
