# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator reads about a host that was looked at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape


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
    for entry in adoption.takeovers:
        lines += ["", f"## To take over what {entry['account']} runs", "", "docs/howto/adopt.md has the commands.", ""]
        lines += [f"- {printable.line(step)}" for step in (*_parts(entry), *_steps(entry, base))]
    for hub in adoption.hubs:
        lines += ["", f"## To move the people of {hub['hub']} by hand", "", "docs/howto/adopt.md has the commands.", ""]
        lines += [f"- {printable.line(step)}" for step in _by_hand(hub, base)]
    if adoption.left:
        lines += ["", "## Not adopted", "", *(f"- {printable.line(text)}" for text in adoption.left)]
    return "\n".join(lines) + "\n"


def _parts(entry: Mapping[str, Any]) -> Iterator[str]:
    """The part of the administrator."""
    for path in entry["shared"]:
        yield (
            f"YOUR PART: {path} does more than these instances, or is of others: take their part out by hand, and "
            "remove the path from shared in jupyter_adopted"
        )
    if any(path.startswith("/etc/nginx/") for path in (*entry["files"], *entry["shared"])):
        yield (
            "YOUR PART: Apache needs the ports of nginx: move its other sites to Apache, and stop it: systemctl "
            "disable --now nginx"
        )


def _steps(entry: Mapping[str, Any], base: str) -> Iterator[str]:
    yield f"the engine of {entry['account']} is stopped, and its unit {entry['unit']} disabled"
    for old, new in takeover.moves(entry, base).items():
        yield _moved(old, new) if old in entry["files"] else f"{old} is moved to {new}"


def _moved(old: str, new: str) -> str:
    return f"{old} is moved to {new}; look into it first: all that is in it ends"


def _by_hand(hub: Mapping[str, Any], base: str) -> Iterator[str]:
    as_whom = f", as {hub['account']}" if hub["account"] else ""
    old = shlex.quote(hub["container"])
    # The hub comes first: it would start servers again for people who are at work.
    ending = shlex.join([hub["container"], *hub["servers"]])
    yield (
        f"stop the hub and people's servers{as_whom}: docker update --restart=no {old} && docker stop {ending}; "
        "`docker ps` shows servers that were started since"
    )
    for path in (*hub["files"], *hub["shared"]):
        yield f"take its part out of {path}"
    yield (
        "run carrel.jupyter.site with state: present, which makes people's folders, and then with state: held, so that "
        "nobody works before the files are there"
    )
    for home in hub["homes"]:
        yield f"copy what is in {home['source']} to {base}/{hub['hub']}/data/users/{escape(home['user'])}/home"
    yield "run carrel.jupyter.site with state: present"
