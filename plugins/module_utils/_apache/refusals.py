# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual hosts that cannot be put in place: what stays of them, and the message. All others are set up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._apache.certificates import Pair
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import ApacheError, Tree, fragment, text
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.vhosts import site_name
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File

STAYS = "Its earlier configuration stays."
SERVED = (
    "Apache keeps what it has loaded, but would not start again with it: "
    "correct this before Apache or the host restarts."
)
OFF = "It is switched off, because its earlier configuration cannot be loaded either."
ABSENT = "It is not served yet."


class Refusals:
    """SITES: the wanted content of each file. LIVE: what is there of them."""

    def __init__(self, sites: Mapping[str, str], live: Tree) -> None:
        self.sites = sites
        self.live = live
        self.problems: dict[str, str] = {}
        self._refused_twice: set[str] = set()
        self._unloadable: list[Pair] = []

    def refuse(self, name: str, problem: str) -> bool:
        """Use the present version of a site; if that is refused, leave it out. Return whether anything changed."""
        if name not in self.sites or not virtual_hosts(self.sites[name]):
            raise ApacheError(f"{problem} Nothing was changed.")
        if self._left_out(name):
            return False
        if name in self.problems:
            self._refused_twice.add(name)
        self.problems.setdefault(name, problem)
        return True

    def refuse_pair(self, pair: Pair, problem: str, loadable: bool) -> bool:
        """LOADABLE: whether Apache can load the pair, though nobody would want it. Return whether a site uses it."""
        if not loadable:
            self._unloadable.append(pair)
        return self._refuse_all([name for name, content in self.sites.items() if uses(content, pair)], problem)

    def refuse_subdomains(self, pair: Pair, problem: str) -> None:
        """Others may use the pair, too, without names below their own."""
        alias = rf"(?m)^\s*ServerAlias\s+\*\.{re.escape(pair.server_name)}\s*$"
        names = [name for name, content in self.sites.items() if uses(content, pair) and re.search(alias, content)]
        self._refuse_all(names, problem)

    def refuse_port(self, port: int, problem: str) -> None:
        names = [name for name, content in self.sites.items() if port in virtual_hosts(content)]
        if not self._refuse_all(names, problem):
            raise ApacheError(f"{problem} Nothing was changed.")

    def _refuse_all(self, names: Sequence[str], problem: str) -> bool:
        for name in names:
            if name not in self.problems:
                self.refuse(name, problem)
        return bool(names)

    def named_in(self, complaint: str) -> list[str]:
        """The sites that a complaint is about: mod_ssl tells the server's name, with a port that may be 443 for any."""
        found = []
        for name, content in self.sites.items():
            marks = [rf"{re.escape(name)}\.conf"]
            marks += [rf"{re.escape(server)}:\d+" for server in re.findall(r"(?m)^\s*ServerName\s+([^\s:]+)", content)]
            if any(re.search(rf"(?<![\w.-]){mark}(?![\w.-])", complaint) for mark in marks):
                found.append(name)
        return found

    def tree(self) -> Tree:
        """What replaces the refused sites' wanted configuration."""
        tree: Tree = {}
        for name in self.problems:
            for path in fragment("sites", name, None):
                tree[path] = None if self._left_out(name) else self.live.get(path)
        return tree

    def ports(self) -> set[int]:
        """Those of the earlier configurations that stay."""
        stay = (name for name in self.problems if not self._left_out(name))
        return {port for name in stay for port in virtual_hosts(self._live(name))}

    def unserved_ports(self) -> set[int]:
        """Those that only refused sites wanted."""
        wanted: dict[bool, set[int]] = {True: set(), False: self.ports()}
        for name, content in self.sites.items():
            wanted[name in self.problems] |= virtual_hosts(content)
        return wanted[True] - wanted[False]

    def switched_off(self) -> set[str]:
        """The paths of the sites that were there and are left out."""
        off = (name for name in self.problems if self._left_out(name) and self._live(name))
        return {path for name in off for path in fragment("sites", name, None)}

    def told(self, applied: bool) -> list[dict[str, str]]:
        """APPLIED: whether the sites that are left out were removed."""
        found = []
        for name, problem in sorted(self.problems.items()):
            outcome = STAYS
            if self._left_out(name):
                outcome = (OFF if applied else SERVED) if self._live(name) else ABSENT
            found.append({"site": name, "problem": f"{problem} {outcome}"})
        return found

    def _left_out(self, name: str) -> bool:
        live = self._live(name)
        bad = not live or name in self._refused_twice or any(uses(live, pair) for pair in self._unloadable)
        return bad and name in self.problems

    def _live(self, name: str) -> str:
        """The content of a site that is enabled."""
        available, enabled = (self.live.get(path) for path in fragment("sites", name, None))
        return text(available) if isinstance(available, File) and enabled else ""


def virtual_hosts(content: str) -> set[int]:
    """The ports of a file's virtual hosts; none if it holds for the whole host."""
    hosts = re.findall(r"(?mi)^\s*<VirtualHost\s+([^>]*)>", content)
    return {int(port) for addresses in hosts for port in re.findall(r":(\d+)(?=\s|$)", addresses)}


def uses(content: str, pair: Pair) -> bool:
    paths = (pair.certificate, pair.private_key)
    return all(re.search(rf"(?<![^\s\"']){re.escape(path)}(?![^\s\"'])", content) for path in paths)


def message(told: Iterable[Mapping[str, str]]) -> str:
    sites = [f"site {refused['site']}: {refused['problem']}" for refused in told]
    return " ".join([*sites, "All other sites are as declared."])


def report(
    refused: Sequence[Mapping[str, str]], vhosts: Iterable[Mapping[str, Any]], uncertified: Sequence[str] = ()
) -> str:
    """The instances behind the refused sites, with the reason. UNCERTIFIED: what to say of missing certificates."""
    whose = {}
    for vhost in vhosts:
        names = [location["instance"] for location in vhost["locations"] if location.get("instance")]
        address = f"{vhost['server_name']}:{vhost['port']}"
        whose[site_name(vhost["server_name"], vhost["port"])] = ", ".join(names) + f" ({address})" if names else address
    parts = [f"{whose.get(site['site'], site['site'])}: {site['problem']}" for site in refused]
    return "\n\n".join(["Apache: these could not be set up as declared, all others are.", *parts, *uncertified])
