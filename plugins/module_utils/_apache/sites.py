# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the apache_sites module decides: which files Apache's configuration needs, and what a failure means."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Union

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File

CONFDIR = "/etc/apache2"
LISTEN_CONF = "carrel-listen"
SITE_NAME = re.compile(r"carrel-[a-z0-9][a-z0-9_.-]*")
WILDCARDS = ("*", "0.0.0.0", "::")  # noqa: S104  compared with, not bound


class ApacheError(Exception):
    """Something is wrong; the message says what, where and what to do."""


@dataclass(frozen=True)
class Link:
    target: str


Node = Union[File, Link, None]
Tree = dict[str, Node]  # absolute path: what is there


def file(content: str, mode: int = 0o644) -> File:
    return File(content.encode("utf-8", "surrogateescape"), mode)


def text(found: File) -> str:
    """Whatever its encoding: the same bytes come out of `file`."""
    return found.content.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Change:
    path: str
    before: Node
    after: Node


@dataclass(frozen=True)
class Listen:
    address: str  # "*": every address
    port: int
    source: str = ""

    def __str__(self) -> str:
        return str(self.port) if self.address == "*" else f"{self.address}:{self.port}"

    @property
    def bare(self) -> str:
        address = self.address.strip("[]")
        return "*" if address in WILDCARDS else address

    def overlaps(self, other: Listen) -> bool:
        """Whether the two cannot be bound at the same time."""
        return self.port == other.port and (self.bare == other.bare or "*" in (self.bare, other.bare))


def asked_at(listen_address: str, *own: str | None) -> str:
    """Return where this host reaches an Apache that listens on an address of C(Listen), which may be all.

    That is the first of the administrator's OWN addresses that is set, if one is.
    """
    usual = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104  compared with, not bound
    return next(filter(None, own), None) or usual.get(listen_address, listen_address.strip("[]"))


def parse_listen(text: str, source: str = "") -> Listen:
    """Read `443`, `*:443`, `192.0.2.1:443` or `[2001:db8::1]:443`."""
    address, _colon, port = text.strip().rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ApacheError(f"listen: {text!r} is neither PORT nor ADDRESS:PORT with a port of 1 to 65535.")
    if address not in ("", "*"):
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError as error:
            raise ApacheError(f"listen: {text!r}: {error}; write PORT or ADDRESS:PORT, IPv6 in brackets.") from error
    return Listen(address or "*", int(port), source)


def listens_of_dump(dump: str) -> list[Listen]:
    """Every Listen of `apache2 -t -D DUMP_CONFIG`, which prints what is in effect after Include and IfModule."""
    found, source = [], ""
    for line in dump.splitlines():
        if line.startswith("# In file: "):
            source = line[len("# In file: ") :]
        match = re.match(r"\s*Listen\s+(\S+)", line, re.IGNORECASE)
        if match:
            found.append(parse_listen(match.group(1), source))
    return found


def missing_listens(wanted: Iterable[Listen], present: Iterable[Listen]) -> list[Listen]:
    """The Listen directives to add; Apache cannot start with two that overlap."""
    present = list(present)
    missing = []
    for want in sorted(set(wanted), key=lambda listen: (listen.port, listen.address)):
        others = [other for other in present if want.overlaps(other)]
        if not others:
            missing.append(want)
            continue
        for other in others:
            if want.bare != other.bare:
                raise ApacheError(
                    f"'Listen {want}' is wanted, but {other.source or 'the configuration'} has 'Listen {other}', and "
                    "Apache cannot bind both. Remove that line, or set the listen address to match it."
                )
    return missing


def restricted_ports_conf(text: str, wanted: Iterable[Listen]) -> str:
    """Debian's ports.conf without the `Listen PORT` lines that a wanted ADDRESS:PORT replaces."""
    ports = {listen.port for listen in wanted if listen.bare != "*"}

    def comment(match: re.Match[str]) -> str:
        return f"{match.group(1)}#carrel# {match.group(2)}" if int(match.group(3)) in ports else match.group(0)

    return re.sub(r"(?m)^([ \t]*)(Listen[ \t]+(?:\*:|0\.0\.0\.0:|\[::\]:)?(\d+)\b)", comment, text)


def module_links(modules: Iterable[str], load_files: Mapping[str, str]) -> Tree:
    """What a2enmod links for these modules and for the ones they depend on.

    load_files maps each name in mods-available, like `ssl.load` and `ssl.conf`, to its text.
    """
    tree: Tree = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if f"{CONFDIR}/mods-enabled/{name}.load" in tree:
            continue
        if f"{name}.load" not in load_files:
            missing = f"{CONFDIR}/mods-available/{name}.load"
            raise ApacheError(f"Apache has no module '{name}': {missing} does not exist. Install its package.")
        for suffix in (".load", ".conf"):
            if name + suffix in load_files:
                tree[f"{CONFDIR}/mods-enabled/{name}{suffix}"] = Link(f"../mods-available/{name}{suffix}")
        for depends in re.findall(r"(?m)^# Depends:(.*)$", load_files[f"{name}.load"]):
            waiting += depends.split()
    return tree


def fragment(kind: str, name: str, content: str | None) -> Tree:
    """A file of sites-available or conf-available and the link that enables it; None removes both."""
    return {
        f"{CONFDIR}/{kind}-available/{name}.conf": None if content is None else file(content),
        f"{CONFDIR}/{kind}-enabled/{name}.conf": None if content is None else Link(f"../{kind}-available/{name}.conf"),
    }


def site_tree(sites: Mapping[str, str], existing: Iterable[str], prune: bool) -> Tree:
    """The wanted sites, and with prune the removal of those among the existing names that are ours and unwanted."""
    tree: Tree = {}
    for name in sorted(sites):
        if not SITE_NAME.fullmatch(name):
            raise ApacheError(f"sites: the name {name!r} is not like 'carrel-example.org-443'.")
        tree.update(fragment("sites", name, sites[name]))
    if prune:
        for name in sorted(set(existing) - set(sites)):
            if SITE_NAME.fullmatch(name):
                tree.update(fragment("sites", name, None))
    return tree


def listen_tree(listens: Iterable[Listen]) -> Tree:
    lines = "".join(f"Listen {listen}\n" for listen in listens)
    content = f"# Managed by Ansible: carrel.jupyter.apache_sites\n{lines}" if lines else None
    return fragment("conf", LISTEN_CONF, content)


def configuration(desired: Tree) -> list[str]:
    """Return the paths of what Apache reads, without the certificates of others."""
    return [*desired, *(f"{CONFDIR}/{kind}-enabled" for kind in ("sites", "mods", "conf"))]


def changes(desired: Tree, current: Tree) -> list[Change]:
    """New and changed files first, then links, then removals with links first: no link ever points to nothing."""
    found = [Change(path, current.get(path), node) for path, node in desired.items() if current.get(path) != node]
    return sorted(found, key=lambda c: (c.after is None, isinstance(c.after, Link), isinstance(c.before, File)))


def diff(found: Iterable[Change], secret: Container[str]) -> list[dict[str, str]]:
    """SECRET: paths whose content is never shown."""
    shown = []
    for change in found:
        before, after = (_shown(node, change.path in secret) for node in (change.before, change.after))
        shown.append({"before_header": change.path, "after_header": change.path, "before": before, "after": after})
    return shown


def _shown(node: Node, secret: bool) -> str:
    if isinstance(node, File):
        return "(a secret)\n" if secret else text(node)
    return f"link to {node.target}\n" if node else ""


def site_of(output: str) -> str | None:
    """Our site whose file Apache's message names."""
    match = re.search(r"sites-(?:enabled|available)/(carrel-[^/\s:]+)\.conf", output)
    return match.group(1) if match else None


def relevant(output: str, stage: str = "") -> str:
    """Apache's message without the noise, and with real paths instead of the staged ones."""
    text = output.replace(stage, CONFDIR) if stage else output
    noise = ("AH00558", "AH00112: Warning", "Syntax OK", "Action '", "The Apache error log")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(noise)]
    return " ".join(lines) + "." if lines else "no message."


def broken_before(live: str) -> str:
    """LIVE: Apache's complaint about the configuration as it was."""
    return (
        f"Apache's configuration was already broken before this change: {live} "
        "Repair it ('apache2ctl configtest' must say 'Syntax OK') and run again. Nothing was changed."
    )


def parse_proc_net(text: str) -> list[tuple[Listen, int]]:
    """The listening sockets of /proc/net/tcp or tcp6 with their inodes."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != "0A":
            continue
        raw, port = fields[1].split(":")
        words = [bytes.fromhex(raw[i : i + 8])[::-1] for i in range(0, len(raw), 8)]
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(b"".join(words))
        mapped = getattr(address, "ipv4_mapped", None)
        found.append((Listen(str(mapped or address), int(port, 16)), int(fields[9])))
    return found
