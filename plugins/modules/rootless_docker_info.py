#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rootless_docker_info
short_description: Check whether a host can run rootless Docker
version_added: 0.1.0
author:
  - the carrel.jupyter authors (@carrel)
description:
  - Checks what rootless Docker needs from the operating system and returns all problems at once, each with its fix.
  - Warns if limits on memory, CPU and processes will not be enforced.
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: Changes nothing.
  idempotent:
    support: full
options:
  accounts:
    description: Accounts that run an engine or will run one.
    type: list
    elements: str
    default: []
  package_source:
    description: The source of Docker's packages, the distribution or upstream's repository.
    type: str
    choices: [distro, docker_ce]
    default: distro
  packages:
    description: The packages to look for. If empty, the usual ones of the package source and the distribution.
    type: list
    elements: str
    default: []
seealso:
  - module: carrel.jupyter.rootless_docker_engines
"""

EXAMPLES = r"""
- name: Inspect the host
  carrel.jupyter.rootless_docker_info:
    accounts: [ada]
  register: docker_host

- name: Stop here if it cannot run rootless Docker
  ansible.builtin.assert:
    that: not docker_host.problems
    fail_msg: "{{ docker_host.problems | join('\n') }}"
"""

RETURN = r"""
problems:
  description: The problems, each with its fix.
  returned: success
  type: list
  elements: str
  sample: []
accounts:
  description: The existing accounts with their uids.
  returned: success
  type: dict
  sample: {ada: 1000}
can_limit:
  description: Whether the kernel offers cgroup v2 with all controllers that limits need.
  returned: success
  type: bool
  sample: true
codename:
  description: The release of the distribution, as its package repositories call it.
  returned: success
  type: str
  sample: trixie
distribution:
  description: The distribution.
  returned: success
  type: str
  sample: debian
installed:
  description: The daemons on the host.
  returned: success
  type: dict
  sample: {dockerd: true, containerd: true}
launcher:
  description: The packages' path of C(dockerd-rootless.sh).
  returned: success
  type: str
  sample: /usr/share/docker.io/contrib/dockerd-rootless.sh
missing_packages:
  description: The packages that are not installed.
  returned: success
  type: list
  elements: str
  sample: []
"""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils import distro
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.requirements import (
    LAUNCHER,
    Host,
    missing,
    packages,
    problems,
    warnings,
)


def number(path: str, default: int) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return default


def controllers() -> frozenset[str] | None:
    try:
        return frozenset(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    except OSError:
        return None


def dpkg_status(module: AnsibleModule, names: list[str]) -> str:
    dpkg = module.get_bin_path("dpkg-query")
    if not dpkg:
        return ""
    command = [dpkg, "--show", "--showformat=${Package} ${db:Status-Status}\\n", *names]
    output: str = module.run_command(command)[1]
    return output


def find(ask: Callable[[str], int], name: str) -> int | None:
    """The id that the name has, also in a name service that lists nobody."""
    try:
        return ask(name)
    except KeyError:
        return None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "str", "default": []},
            "package_source": {"type": "str", "choices": ["distro", "docker_ce"], "default": "distro"},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    names = module.params["accounts"]
    accounts = {name: uid for name in names if (uid := find(lambda name: pwd.getpwnam(name).pw_uid, name)) is not None}
    groups = {name for name in names if find(lambda name: grp.getgrnam(name).gr_gid, name) is not None}
    own = {line.partition(":")[0] for line in Path("/etc/passwd").read_text(errors="replace").splitlines()}
    release = distro.os_release_info()
    host = Host(
        os_id=release.get("id", ""),
        os_version=release.get("version_id", ""),
        # sd_booted(3)
        systemd=os.path.isdir("/run/systemd/system"),
        user_namespaces=number("/proc/sys/user/max_user_namespaces", 0),
        unprivileged_userns_clone=number("/proc/sys/kernel/unprivileged_userns_clone", 1) != 0,
        apparmor_restricts=number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) != 0,
        rootlesskit_profile=os.path.exists("/etc/apparmor.d/rootlesskit"),
        controllers=controllers(),
        uids=accounts,
        foreign_accounts=frozenset(accounts) - own,
        foreign_groups=frozenset(groups - accounts.keys()),
    )
    source = module.params["package_source"]
    wanted = module.params["packages"] or packages(host.os_id, source)
    for warning in warnings(host):
        module.warn(warning)
    module.exit_json(
        changed=False,
        problems=problems(host, source),
        accounts=accounts,
        can_limit=host.can_limit,
        codename=release.get("version_codename", ""),
        distribution=host.os_id,
        installed={name: bool(module.get_bin_path(name)) for name in ("dockerd", "containerd")},
        launcher=LAUNCHER[source],
        missing_packages=missing(wanted, dpkg_status(module, wanted)),
    )


if __name__ == "__main__":
    main()
