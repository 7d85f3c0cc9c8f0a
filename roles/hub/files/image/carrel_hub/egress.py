# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m carrel_hub.egress PREFIX=NETWORK,… …: limit where containers behind bridges called PREFIX… may connect.

The hub runs this in a container in the engine's own network namespace, through which all containers connect.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

RESOLV_CONF = Path("/etc/resolv.conf")
_RULES = """\
table inet {name}
delete table inet {name}
table inet {name} {{
  chain forward {{
    type filter hook forward priority -10;
    iifname != "{prefix}*" accept
    ip daddr {{ {allowed} }} accept
    oifname "{prefix}*" accept
    {names}
    drop
  }}
}}
"""
_NAMES = "ip daddr {{ {resolvers} }} meta l4proto {{ tcp, udp }} th dport 53 accept"


class Limit(NamedTuple):
    """Where servers may connect to whose bridges have this prefix. None: everywhere."""

    prefix: str
    allowed: tuple[str, ...] | None


def limit(config: Mapping[str, Any], groups: Iterable[str] = ()) -> Limit:
    """Return the limit of a member of GROUPS: all that any of them allows; the hub's if none of them has one.

    The prefix depends on the groups' names only, so that changed networks also count for servers that run.
    """
    of_groups: Mapping[str, Any] = config["group_egress"]
    names = sorted(of_groups.keys() & set(groups))
    each = [of_groups[name] for name in names] or [config["egress"]]
    allowed = None if each == [None] else tuple(network for one in each for network in one["allow"])
    return Limit(prefix(config["name"], names), allowed)


def prefix(instance: str, groups: Iterable[str] = ()) -> str:
    """Return the beginning of bridges' names. The kernel allows 15 characters for a name."""
    return f"c{sha256('/'.join([instance, *groups]).encode()).hexdigest()[:8]}-"


def rules(of: str, allowed: Iterable[str], resolvers: Iterable[str]) -> str:
    """Return rules for nft. Traffic between servers is allowed here: Docker separates their networks anyway.

    Some kernels also filter traffic within a network, which must pass.
    """
    networks = ipaddress.collapse_addresses(map(ipaddress.IPv4Network, allowed))
    names = ", ".join(sorted(resolvers))
    return _RULES.format(
        name=f"carrel_{of.rstrip('-')}", prefix=of, allowed=", ".join(map(str, networks)),
        names=_NAMES.format(resolvers=names) if names else "",
    )  # fmt: skip


def resolvers(text: str) -> set[str]:
    """Return the name servers in resolv.conf that containers can reach."""
    words = [line.split() for line in text.splitlines()]
    named = {pair[1] for pair in words if len(pair) > 1 and pair[0] == "nameserver" and ":" not in pair[1]}
    return {server for server in named if not ipaddress.IPv4Address(server).is_loopback}


def main() -> int:
    servers = resolvers(RESOLV_CONF.read_text(encoding="utf-8"))
    limits = [argument.split("=") for argument in sys.argv[1:]]
    text = "".join(rules(of, allowed.split(","), servers) for of, allowed in limits)
    return subprocess.run(["nft", "--file", "-"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
