# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that rootless engines need, and what to do with an engine in the state that it is found in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.devices import CDI_OPTIONS
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.egress import RUNTIME, RUNTIME_OPTIONS

UNIT = "rootless-docker.service"
UNIT_PATH = f"/etc/systemd/user/{UNIT}"
UNIT_LINK = f"/etc/systemd/user/default.target.wants/{UNIT}"
PROFILE_PATH = "/etc/profile.d/rootless-docker.sh"
DELEGATE_PATH = "/etc/systemd/system/user@.service.d/delegate.conf"
# What the role decides itself
RESERVED = {
    "data-root": "give the engine a data_root instead",
    "hosts": "the engine listens on /run/user/UID/docker.sock, where all else looks for it",
}

# https://docs.docker.com/engine/security/rootless/tips/#limiting-resources
DELEGATE = """\
# Managed by Ansible: limits on rootless containers need these controllers
[Service]
Delegate=cpu cpuset io memory pids
"""

PROFILE = """\
# Managed by Ansible: leads the accounts of rootless engines to their own engine
if [ -e "/etc/rootless-docker/$(id -un)/daemon.json" ]; then
    export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
    export DOCKER_HOST="unix://$XDG_RUNTIME_DIR/docker.sock"
fi
"""

# The service section is that of upstream's dockerd-rootless-setuptool.sh.
_UNIT = """\
# Managed by Ansible: every account's systemd manager reads this; the conditions pick those that have an engine to run
[Unit]
Description=Rootless Docker engine of %u
Documentation=https://docs.docker.com/engine/security/rootless/
ConditionPathExists=/etc/rootless-docker/%u/daemon.json
ConditionPathExists=/var/lib/systemd/linger/%u
Requires=dbus.socket
After=dbus.socket
StartLimitIntervalSec=60
StartLimitBurst=3

[Service]
Type=notify
NotifyAccess=all
Environment=PATH=/usr/bin:/usr/sbin:/bin:/sbin
{environment}ExecStart={launcher} --config-file=/etc/rootless-docker/%u/daemon.json
# What Docker cannot start again by itself.
ExecStartPost=-/usr/bin/python3 -I /usr/local/lib/carrel/devices.py
ExecReload=/bin/kill -s HUP $MAINPID
# Containers live in scopes of their own and outlive a daemon that was killed, as orphans that the next daemon can
# neither adopt nor replace ("container with given ID already exists").
ExecStopPost=-/usr/bin/systemctl --user kill --signal=KILL 'runc-*.scope' 'docker-*.scope'
ExecStopPost=-/bin/rm -rf %t/docker/runtime-runc
TimeoutSec=0
RestartSec=2
Restart=always
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
Delegate=yes
KillMode=mixed

[Install]
WantedBy=default.target
"""

HINTS = {
    "newuidmap": "Look at the account's lines in /etc/subuid and /etc/subgid.",
    "/dev/net/tun": "slirp4netns needs /dev/net/tun with mode 0666, as udev sets it.",
    "uid_map: operation not permitted": "Unprivileged user namespaces are restricted on this host.",
    "no space left": "The file system of the data root is full.",
    "xtables.lock": "See https://github.com/moby/moby/issues/41230.",
    "graphdriver": "Look at storage-driver in the daemon options, and at the file system of the data root.",
}


def config_path(name: str) -> str:
    return f"/etc/rootless-docker/{name}/daemon.json"


def unit_text(launcher: str, environment: Mapping[str, str]) -> str:
    """The user unit; `%` and quotes in values are what systemd.syntax(7) makes of them."""
    escape = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%"})
    lines = (f'Environment="{name}={value.translate(escape)}"\n' for name, value in sorted(environment.items()))
    return _UNIT.format(launcher=launcher, environment="".join(lines))


def daemon_json(
    name: str, data_root: str, common: Mapping[str, Any], own: Mapping[str, Any], former: bytes = b"{}"
) -> str:
    """An engine's dockerd configuration: its own options over those of all engines, and these over what stays."""
    options = merge(common, own)
    options = merge(_staying(former, options), options)
    for key, instead in RESERVED.items():
        if key in options:
            raise ValueError(f"engine {name}: {key!r} may not be among the daemon options: {instead}")
    return json.dumps({**options, "data-root": data_root}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _staying(former: bytes, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the FORMER configuration that stay when no instance wants them any more.

    Containers of labs with egress and containers with devices start with no others, and some may be there until their
    role replaces or removes them. Without the options, the engine would restart with its containers, too.
    """
    try:
        found = json.loads(former)
    except ValueError:
        return {}
    stays = dict(RUNTIME_OPTIONS) if _at(found, "runtimes", RUNTIME) else {}
    if _at(found, "features", "cdi") and _at(found, "cdi-spec-dirs") and _at(wanted, "features", "cdi") is not False:
        stays.update(CDI_OPTIONS)
    return stays


def _at(options: Any, *keys: str) -> Any:
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else None
    return options


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def explain(log: str, account: str) -> str:
    """The end of an engine's log without the launcher's trace and other noise, and where to look."""
    lines = [line for line in log.splitlines() if not line.startswith("+ ") and " level=info " not in line][-12:]
    hints = [hint for word, hint in HINTS.items() if any(word in line.lower() for line in lines)]
    command = f"`journalctl _SYSTEMD_USER_UNIT={UNIT} _UID=$(id -u {account})` shows the whole log."
    return "\n".join(["The last lines of its log:", *(f"  {line}" for line in lines), *hints, command])
