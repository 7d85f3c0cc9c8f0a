# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m carrel_hub.egress PREFIX NETWORK …: limit where containers behind bridges called PREFIX… may connect.

The hub runs this in a container in the engine's own network namespace, through which all containers connect.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

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


def prefix(instance: str) -> str:
    """Return the beginning of the names of an instance's bridges. The kernel allows 15 characters for a name."""
    return f"c{sha256(instance.encode()).hexdigest()[:8]}-"


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
    of, *allowed = sys.argv[1:]
    text = rules(of, allowed, resolvers(RESOLV_CONF.read_text(encoding="utf-8")))
    return subprocess.run(["nft", "--file", "-"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
