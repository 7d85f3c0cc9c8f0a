# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of instances and engines. An engine's account and group have the engine's name."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid, wrong_type

# useradd accepts 32 characters (shadow's useradd(8)).
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

_RESERVED: dict[str, str] = {
    "it stands for root's rights on the host": (
        "root sudo wheel admin docker adm disk shadow kmem lxd incus incus-admin libvirt kvm staff"
    ),
    "it is a system account": (
        "daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody messagebus sshd "
        "polkitd dnsmasq uuidd tcpdump syslog landscape pollinate tss ntp chrony avahi colord cups rtkit saned geoclue "
        "postgres mysql redis mongodb nginx apache apache2 httpd http git ftp postfix dovecot bind named munin nagios "
        "prometheus grafana statd rpc rpcuser ldap openldap slapd sssd usbmux whoopsie fwupd-refresh lightdm gdm"
    ),
    "it is a system group": (
        "tty dialout fax voice cdrom floppy tape audio dip operator src utmp video sasl plugdev users nogroup input "
        "sgx render crontab netdev ssl-cert ssh bluetooth scanner systemd clock"
    ),
}
_REASONS = {name: reason for reason, names in _RESERVED.items() for name in names.split()}


def is_name(name: str) -> bool:
    """Whether the text can be the name of an instance, and so a part of a path."""
    return _NAME.fullmatch(name) is not None


def refusal(name: str) -> str | None:
    """Return why a module does nothing with this name. None if it may."""
    return None if is_name(name) else f"{name!r} is not a name for an instance"


def reserved(name: str) -> str | None:
    """Return why no account of ours may have this name. None if it may."""
    if name.startswith("systemd-"):
        return "systemd's own accounts begin so"
    return _REASONS.get(name)


def shares_file_with(name: str) -> str | None:
    """Return the instance whose backups have the file of this one's resets in /etc/cron.d. None: nobody has it."""
    return name.removeprefix("backup-") if name.startswith("backup-") else None


def taken(name: str) -> str | None:
    """Return what has the file of an instance's resets in /etc/cron.d already. None if nothing has."""
    other = shares_file_with(name)
    return f"its resets and the backups of {other} would have the same file in /etc/cron.d" if other else None


def _suggest(value: str) -> str | None:
    """Suggest a valid name that looks like VALUE."""
    name = re.sub(r"[^a-z0-9]+", "-", value[:64].lower()).lstrip("-0123456789")[:31].strip("-")
    return name if name and reserved(name) is None and taken(name) is None else None


def read_name(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str):
        return wrong_type(value, 'a name in quotes, for example "geo"', path, problems)
    if not is_name(value) or value.endswith("-"):
        suggestion = _suggest(value)
        problems.add(path, "name", value=show(value), hint=f", for example {suggestion}" if suggestion else "")
        return INVALID
    reason = reserved(value)
    if reason:
        problems.add(path, "name_reserved", value=show(value), reason=reason)
        return INVALID
    return str(value)
