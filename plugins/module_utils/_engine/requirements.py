# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can run rootless Docker, decided from what was read on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LIMIT_CONTROLLERS = frozenset({"cpu", "memory", "pids"})
# The first release whose own packages are young enough: Debian 12's docker.io is 20.10, without compose v2.
OLDEST = {
    "distro": {"debian": (13,), "ubuntu": (22, 4)},
    "docker_ce": {"debian": (12,), "ubuntu": (22, 4)},
}
FIRST_ORDINARY_UID = 1000
LAUNCHER = {
    "distro": "/usr/share/docker.io/contrib/dockerd-rootless.sh",
    "docker_ce": "/usr/bin/dockerd-rootless.sh",
}
_COMMON = ["ca-certificates", "dbus-user-session", "iproute2", "iptables", "python3-docker", "slirp4netns", "uidmap"]
_DISTRO = {
    "debian": ["docker.io", "docker-cli", "docker-compose", "docker-buildx", "rootlesskit"],
    "ubuntu": ["docker.io", "docker-compose-v2", "docker-buildx", "rootlesskit"],
}
_DOCKER_CE = [
    "docker-ce",
    "docker-ce-cli",
    "docker-ce-rootless-extras",
    "docker-buildx-plugin",
    "docker-compose-plugin",
    "containerd.io",
]


@dataclass(frozen=True)
class Host:
    os_id: str
    os_version: str
    systemd: bool
    user_namespaces: int
    unprivileged_userns_clone: bool
    apparmor_restricts: bool
    rootlesskit_profile: bool
    # None: the host does not run on cgroup v2 alone
    controllers: frozenset[str] | None
    uids: Mapping[str, int] = field(default_factory=dict)
    # of those accounts, the ones that /etc/passwd does not have
    foreign_accounts: frozenset[str] = frozenset()
    # names of accounts still to be made that groups have
    foreign_groups: frozenset[str] = frozenset()

    @property
    def can_limit(self) -> bool:
        return self.controllers is not None and self.controllers >= LIMIT_CONTROLLERS


def packages(os_id: str, package_source: str) -> list[str]:
    return _COMMON + (_DOCKER_CE if package_source == "docker_ce" else _DISTRO.get(os_id, []))


def missing(wanted: list[str], dpkg_status: str) -> list[str]:
    """Those packages that `dpkg-query` does not report as installed, in lines of name and status."""
    installed = {words[0] for words in map(str.split, dpkg_status.splitlines()) if words[1:] == ["installed"]}
    return [package for package in wanted if package not in installed]


def problems(host: Host, package_source: str) -> list[str]:
    """All reasons why the host cannot run rootless Docker, with what to do."""
    found = [_release_problem(host, package_source)]
    if not host.systemd:
        found.append(
            "systemd does not run as process 1 here. Each engine runs under its account's systemd manager: use a host"
            " that was booted with systemd"
        )
    if host.user_namespaces == 0:
        found.append(
            "user namespaces are off (/proc/sys/user/max_user_namespaces is 0 or missing). Rootless Docker cannot work"
            " without them: set user.max_user_namespaces=28633 in /etc/sysctl.d and run `sysctl --system`"
        )
    if not host.unprivileged_userns_clone:
        found.append(
            "user namespaces are off for unprivileged accounts: set kernel.unprivileged_userns_clone=1 in"
            " /etc/sysctl.d and run `sysctl --system`"
        )
    if host.apparmor_restricts and not host.rootlesskit_profile:
        found.append(
            "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns=1) and has no profile"
            " that allows them to /usr/bin/rootlesskit: install Ubuntu's package apparmor, which brings"
            " /etc/apparmor.d/rootlesskit. Do not turn the restriction off"
        )
    for name, uid in sorted(host.uids.items()):
        if uid < FIRST_ORDINARY_UID:
            found.append(
                f"the engine {name!r} would run as the system account {name} (uid {uid}): give the engine another name"
            )
    found += [
        f"the account {name} comes from a name service (see /etc/nsswitch.conf), and is not in /etc/passwd: an engine"
        " needs an account of the host's own, which can have subordinate ids; give the engine another name"
        for name in sorted(host.foreign_accounts)
    ]
    found += [
        f"there is a group {name}, but no account of this name: the engine's account would get no group of its own, and"
        " its files would belong to the shared group users; give the engine another name, or remove the group"
        for name in sorted(host.foreign_groups)
    ]
    return [problem for problem in found if problem]


def warnings(host: Host) -> list[str]:
    if host.can_limit:
        return []
    if host.controllers is None:
        reason = "the host runs on cgroup v1: boot it with systemd.unified_cgroup_hierarchy=1 to have cgroup v2"
    else:
        missing = ", ".join(sorted(LIMIT_CONTROLLERS - host.controllers))
        reason = f"the kernel does not offer the cgroup controllers {missing} (see /sys/fs/cgroup/cgroup.controllers)"
    return [f"MEMORY, CPU AND PROCESS LIMITS OF CONTAINERS WILL NOT HOLD on this host, because {reason}."]


def _release_problem(host: Host, package_source: str) -> str:
    oldest = OLDEST[package_source].get(host.os_id)
    if oldest is None:
        return f"this role installs on Debian and Ubuntu only, and the host says that it is {host.os_id or 'neither'!r}"
    # Debian testing and unstable have no version
    version = tuple(int(part) for part in host.os_version.split(".") if part.isdecimal())
    if not version or version >= oldest:
        return ""
    name = f"{host.os_id.capitalize()} {host.os_version}"
    if package_source == "distro" and version >= OLDEST["docker_ce"][host.os_id]:
        return (
            f"the Docker in {name} is too old for this (20.10, without compose v2): set"
            " rootless_docker_package_source: docker_ce to install upstream's packages"
        )
    needed = ".".join(f"{part:02}" if index else str(part) for index, part in enumerate(oldest))
    return f"{name} is too old: {host.os_id.capitalize()} {needed} or later is needed"
