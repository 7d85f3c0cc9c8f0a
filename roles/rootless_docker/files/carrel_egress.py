#!/usr/bin/python3 -I
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run runc, and limit where a new container may connect to before its program starts.

Engines with such labs have this as a runtime. Docker gives it what it would give runc; the networks are in an
annotation of the container. The rules are in the container's own network namespace: they hold after each start, end
with the container, and only who has CAP_NET_ADMIN could change them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ANNOTATION = "carrel.egress"
RUNC = "runc"
SECONDS = 30
RESOLV_CONF = Path("/etc/resolv.conf")
IPV6 = Path("/proc/net/if_inet6")  # missing if the kernel has none
# Answers to connections from outside pass. Docker's own name server is on lo, and asks the others through here.
_RULES = """\
*filter
:OUTPUT ACCEPT [0:0]
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT
{allowed}-A OUTPUT -j DROP
COMMIT
"""


class Refused(Exception):
    """The container must not start. The text says why."""


def option(arguments: Sequence[str], name: str) -> str:
    """Return the value of an option of runc, which may follow the name or an equals sign."""
    for index, argument in enumerate(arguments):
        if argument == name:
            return arguments[index + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    raise Refused(f"Docker gave {RUNC} no {name}")


def networks(config: Path) -> list[str]:
    text = json.loads(config.read_text(encoding="utf-8")).get("annotations", {}).get(ANNOTATION)
    if text is None:
        raise Refused(f"the container has no annotation {ANNOTATION}, which needs Docker 24 or later")
    return [str(ipaddress.IPv4Network(each)) for each in text.split(",") if each]


def resolvers(text: str) -> list[str]:
    """Return the name servers in resolv.conf that containers can reach."""
    words = [line.split() for line in text.splitlines()]
    named = [pair[1] for pair in words if len(pair) > 1 and pair[0] == "nameserver" and ":" not in pair[1]]
    return [server for server in named if not ipaddress.IPv4Address(server).is_loopback]


def rules(allowed: Iterable[str], servers: Iterable[str]) -> str:
    """Return rules for iptables-restore. Without a network, no name is looked up, either."""
    lines = [f"-d {network}" for network in allowed]
    if lines:
        lines += [f"-d {server} -p {protocol} --dport 53" for server in servers for protocol in ("udp", "tcp")]
    return _RULES.format(allowed="".join(f"-A OUTPUT {line} -j ACCEPT\n" for line in lines))


def limit(pid: int, allowed: list[str]) -> None:
    servers = resolvers(RESOLV_CONF.read_text(encoding="utf-8"))
    _restore("iptables-restore", pid, rules(allowed, servers))
    if IPV6.exists():
        _restore("ip6tables-restore", pid, rules([], []))


def _restore(program: str, pid: int, text: str) -> None:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", program, "--wait"]
    try:
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{program} cannot be run: {error}") from error
    if done.returncode:
        raise Refused(f"{program} fails: {done.stderr.strip()}")


def create(arguments: Sequence[str]) -> int:
    """Have runc make the container, whose program waits until Docker starts it."""
    options = arguments[: arguments.index("create")]
    try:
        allowed = networks(Path(option(arguments, "--bundle")) / "config.json")
        status = subprocess.run([RUNC, *arguments], check=False, close_fds=False).returncode
        if status == 0:
            try:
                limit(int(Path(option(arguments, "--pid-file")).read_text(encoding="utf-8")), allowed)
            except BaseException:
                subprocess.run([RUNC, *options, "delete", "--force", arguments[-1]], check=False)
                raise
    except (Refused, OSError, ValueError) as error:
        # Docker shows the last error in this log.
        line = json.dumps({"level": "error", "msg": f"egress cannot be limited: {error}"})
        with open(option(arguments, "--log"), "a", encoding="utf-8") as log:
            print(line, file=log)
        return 1
    return status


def main() -> int:
    arguments = sys.argv[1:]
    if "create" not in arguments:
        os.execvp(RUNC, [RUNC, *arguments])  # noqa: S606
    return create(arguments)


if __name__ == "__main__":
    sys.exit(main())
