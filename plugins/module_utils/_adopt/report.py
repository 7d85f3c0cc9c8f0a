# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator reads about a host that was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover, takeover_hub
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable


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
        title = f"the hub {entry['hub']}" if "hub" in entry else f"what {entry['account']} runs"
        steps = _hub_steps(entry, base) if "hub" in entry else _steps(entry, base)
        lines += ["", f"## To take over {title}", "", "docs/howto/adopt.md has the commands.", ""]
        lines += [f"- {printable.line(step)}" for step in (*_parts(entry, adoption), *steps)]
    if adoption.left:
        lines += ["", "## Not adopted", "", *(f"- {printable.line(text)}" for text in adoption.left)]
    return "\n".join(lines) + "\n"


def _parts(entry: Mapping[str, Any], adoption: Adoption) -> Iterator[str]:
    """The part of the administrator."""
    for path in entry["shared"]:
        yield (
            f"YOUR PART: {path} does more than this, or is of others: take its part out by hand, and "
            "remove the path from shared in jupyter_adopted"
        )
    for path in adoption.starters[takeover.name_of(entry)]:
        yield (
            f"YOUR PART: {path} runs docker for this, and stays where it is: take its part out by hand, or it starts "
            "the old setup again"
        )
    yield (
        "YOUR PART: look for what else starts it again. Only /etc/cron.daily, /etc/cron.d, /etc/crontab, crontabs of "
        "root and of accounts with an engine, and services in /etc/systemd/system and in ~/.config/systemd/user of "
        "these accounts were read, and no program that they call"
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


def _hub_steps(entry: Mapping[str, Any], base: str) -> Iterator[str]:
    whose = f"the engine of {entry['account']}" if entry["account"] else "Docker as root"
    yield (
        f"the container {entry['container']} of {whose}, and people's servers, are stopped; that container is not "
        "restarted any more"
    )
    for old, new in takeover_hub.moves(entry).items():
        yield _moved(old, new)
    for home in entry["homes"]:
        target = takeover_hub.user_folder(f"{base}/{entry['hub']}", home["user"])
        yield f"what is in {home['source']} is copied to {target}/home"
