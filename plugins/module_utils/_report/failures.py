# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe failures in a run that continues: where, in which step, and the step's message."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images.log import REFUSED, explain, hidden
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

NO_MESSAGE = "the task gave no message; run again with -v"
TIMED_OUT = "If it asks an engine, check that the engine answers: run docker ps as its account"
# What the docker command says, and docker-py, if nothing answers at a path of _host/engine_mounts.py.
UNREACHED = re.compile(r"unix:///run/carrel/engines/run-user-(\d+)/|Error while fetching server API version")
LOOK = "Look at the engine's socket, "
SOCKET = (
    LOOK + "/run/user/{}/docker.sock. If it is missing, the engine does not run. If it is a link,"
    " somebody has put it there as the engine's account, and nothing was asked. Then restart the engine, as its"
    " account: systemctl --user restart rootless-docker"
)
LOG_IN = (
    "If the registry asks for a log-in: docker login REGISTRY, as the account of the instance's engine; see"
    " docs/explanation/rootless-docker.md"
)

REPORT = re.compile(r"\d+ of \d+ instances of kind \w+ on .* failed:\n\n")


def message(result: Mapping[str, Any]) -> str:
    """Return the message of a failed task, or of each failed item of a loop.

    It may contain output of a container or an account, so it is cleaned.
    """
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
    if items:
        return "\n".join(dict.fromkeys(message(item) for item in items))
    said = printable.text(str(result.get("msg") or "")[: printable.LONGEST]).strip()
    return "\n".join(filter(None, [said, TIMED_OUT if result.get("timedout") else "", _advice(said)])) or NO_MESSAGE


def build(result: Mapping[str, Any], secret: Mapping[str, str]) -> str:
    """Return why a build by the docker command failed, or the task's message if docker printed nothing.

    The values of SECRET, the build's arguments, are hidden: a step may print them.
    """
    log = "".join(str(result.get(stream) or "")[-printable.LONGEST :] for stream in ("stdout", "stderr"))
    said = printable.text(explain(hidden(log, secret.values()))) if log.strip() else ""
    return "\n".join(filter(None, [said, _advice(said)])) or message(result)


def last_words(result: Mapping[str, Any]) -> str:
    """Return the output of a failed task's program, or the task's message."""
    printed = [str(result.get(stream) or "")[-printable.LONGEST :] for stream in ("stdout", "stderr")]
    said = (printable.text(text).strip() for text in printed)
    printed_last = next(filter(None, said), "")
    return "\n".join(filter(None, [printed_last, _advice(printed_last)])) or message(result)


def _advice(said: str) -> str:
    unreached = None if LOOK in said else UNREACHED.search(said)  # a role's report may have it already
    refused = LOG_IN not in said and "image_registries" not in said and REFUSED.search(said)
    return SOCKET.format(unreached[1] or "UID") if unreached else LOG_IN if refused else ""


def instances(kind: str, host: str, number: int, failures: Sequence[Mapping[str, str]]) -> str:
    """Return a role's report on its instances. A failure has `name`, `task` and `message`."""
    names = dict.fromkeys(failure["name"] for failure in failures)
    parts = [f"{failure['name']}: {failure['task']}\n{_indented(failure['message'])}" for failure in failures]
    return "\n\n".join([f"{len(names)} of {number} instances of kind {kind} on {host} failed:", *parts])  # REPORT


def site(host: str, failures: Sequence[Mapping[str, str]], images: Sequence[Mapping[str, Any]]) -> str:
    """Return the report on a whole host. Empty if nothing failed.

    A failure has `task` and `message`. If the message is a report of `instances`, it is shown alone. IMAGES are the
    declared images that failed.
    """
    parts = []
    for image in images:
        names = ", ".join(image["instances"])
        parts.append(f"{names}: unchanged, because there is no image {image['name']}\n{_indented(image['error'])}")
    for failure in failures:
        told = REPORT.match(failure["message"])
        parts.append(failure["message"] if told else f"{failure['task']}\n{_indented(failure['message'])}")
    head = f"{host} is not as declared: this failed, everything else was done. Correct the cause and run again."
    return "\n\n".join([head, *parts]) if parts else ""


def _indented(text: str) -> str:
    return textwrap.indent(text.strip(), "  ")
