# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator reads about a host that was looked at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

_ASIDE = "/root/adopted"


def report(adoption: Adoption, host: str, base: str) -> str:
    """A page in Markdown, without a secret; BASE: where instances have their folders."""
    lines = [f"# {host}", "", "Nothing was changed on the host. Names and texts below are as they were found."]
    if not adoption.instances:
        lines += ["", "Nothing can be adopted: declare new instances, and copy the files (docs/howto/adopt.md)."]
    for entry in adoption.instances:
        lines += ["", f"## {entry['name']}: {printable.line(entry['url'])}", ""]
        lines += [f"- {printable.line(note)}" for note in adoption.notes[entry["name"]]]
        lines.append(
            f"- the new engine starts empty and pulls {printable.line(entry['image'])}; if that was built on this "
            "host, push it to a registry first, or write build with the Dockerfile's folder"
        )
    for takeover in adoption.takeovers:
        lines += ["", f"## To take over what {takeover['account']} runs", ""]
        lines += [
            "As root on the host, once the plan is right (docs/howto/adopt.md). The lab is down from here on.",
            "",
        ]
        lines += ["```", *map(printable.line, _commands(takeover, base)), "```"]
    if adoption.left:
        lines += ["", "## Not adopted", "", *(f"- {printable.line(text)}" for text in adoption.left)]
    return "\n".join(lines) + "\n"


def _commands(takeover: Mapping[str, Any], base: str) -> Iterator[str]:
    """The old setup ends and stays; the new one gets a copy of the notebooks."""
    account, files, shared = takeover["account"], takeover["files"], takeover["shared"]
    user = f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user disable --now {takeover['unit']}"
    yield f"su - {account} -c '{user}'"
    for instance in takeover["instances"]:
        data = f"{base}/{instance['name']}/data"
        yield f"mkdir -p {shlex.quote(data)}"
        yield f"cp -a -T {shlex.quote(instance['notebooks'])} {shlex.quote(data + '/notebooks')}"
    if files:
        yield "# look into each file first: all that is in it ends"
        yield f"mkdir -p {_ASIDE}/{account}"
        yield f"mv {shlex.join(files)} {_ASIDE}/{account}/"
    for path in shared:
        yield f"# edit {path} by hand, because it does more or is of others: take out the part of these labs"
    everything = [*files, *shared]
    if any(path.startswith("/etc/apache2/") for path in everything):
        yield "systemctl reload apache2"
    if any(path.startswith("/etc/nginx/") for path in everything):
        yield "# Apache needs the ports of nginx: move all other sites of nginx to Apache, then run"
        yield "# systemctl disable --now nginx"
    yield f"mkdir -p /etc/rootless-docker/{account}"
