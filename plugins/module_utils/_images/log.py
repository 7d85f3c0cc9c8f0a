# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a build, pull or push failed, in a few lines, and whether another try can help."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import MARK, Kernel

NO_CONDA = "carrel-no-conda: the base has"
TAIL = 8  # lines of the log that are shown
HIDDEN = "********"
_PREFIX = re.compile(r"^#\d+ [\d.]+ ")  # BuildKit's, before each line of a step
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ADVICE = re.compile(r"^DEPRECATED: The legacy builder.*\n(?:[ \t].*\n|\n)*", re.MULTILINE)
_END = re.compile(r"^(?:The command '|------$)", re.MULTILINE)
_NETWORK = re.compile(
    r"temporary failure (?:in name resolution|resolving)|could not resolve|no such host"
    r"|connection (?:refused|reset|timed out)"
    r"|i/o timeout|tls handshake timeout|net/http: request canceled|failed to establish a new connection|read timed out"
    r"|could not connect to|connection failed|unable to connect to|network is unreachable|unexpected EOF"
    r"|\b(?:ETIMEDOUT|ECONNRESET|ECONNREFUSED|ENOTFOUND|EAI_AGAIN)\b|\b50[234] (?:Bad Gateway|Service|Gateway)",
    re.IGNORECASE,
)
_MISSING = (
    re.compile(r"E: Unable to locate package (\S+)"),
    re.compile(r"E: (?:Version '[^']*' for|Package) '([^']+)'.*(?:was not found|has no installation candidate)"),
    re.compile(r"ERROR: No matching distribution found for (.+)"),
    # conda; libmamba, which conda and mamba use; rattler
    re.compile(r"not available from current channels:\s+- (\S+)"),
    re.compile(r"[└├]─ (\S+).* does not exist \(perhaps a typo"),
    re.compile(r"nothing provides requested (\S+)"),
    re.compile(r"No candidates were found for (\S+)"),
    re.compile(r"ERROR: Invalid requirement: '?([^'\n]+)"),
    re.compile(r"'([^']+)' is not in (?:this|the npm) registry"),
    re.compile(r"No matching version found for (\S+?)\.?\s"),
)
# What registries say of an image that is private or not there, through the docker command and docker-py.
REFUSED = re.compile(
    r"no basic auth credentials|\bunauthorized: |authentication required|pull access denied"
    r"|requested access to the resource is denied",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"no basic auth credentials|unauthorized|authentication required|denied: ", re.IGNORECASE)
_NO_MANIFEST = re.compile(r"manifest unknown|manifest for .* not found|repository does not exist", re.IGNORECASE)
_PLATFORM = re.compile(r"no matching manifest for (\S+)|exec format error", re.IGNORECASE)


def hidden(log: str, secret: Iterable[str]) -> str:
    """Return the log without these values, which a step may print: those of the build's arguments."""
    for value in sorted(filter(None, secret), key=len, reverse=True):
        log = log.replace(value, HIDDEN)
    return log


def lines(log: str) -> list[str]:
    """Return what the steps printed, without colours and the steps' own text, which both builders add at the end."""
    plain = _ADVICE.sub("", _COLOUR.sub("", log))
    return [_PREFIX.sub("", line).rstrip() for line in _END.split(plain, maxsplit=1)[0].splitlines()]


def failed_part(log: str) -> str | None:
    """Return the part whose steps ran last."""
    named = [line[len(MARK) :] for line in lines(log) if line.startswith(MARK)]
    return named[-1] if named else None


def is_network(log: str) -> bool:
    """Whether the network was the reason: the last part's output says so, and names no other reason."""
    text = "\n".join(_last_part(log))
    return bool(_NETWORK.search(text)) and not _LOGIN.search(text)


def _last_part(log: str) -> list[str]:
    shown = lines(log)
    begins = [number for number, line in enumerate(shown) if line.startswith(MARK)]
    return shown[begins[-1] + 1 :] if begins else shown


def explain(log: str, kernels: Sequence[Kernel] = ()) -> str:
    """Return why a build failed and what to do, with the last lines of its log."""
    part = failed_part(log)
    last = [line for line in _last_part(log) if line.strip()]
    text = "\n".join(last)
    kernel = next((kernel for kernel in kernels if part == f"kernel {kernel.spec}"), None)
    where = f"{part}: " if part else ""
    found = next((match.group(1).strip() for match in (pattern.search(text) for pattern in _MISSING) if match), None)
    if kernel and not kernel.tested:
        reason = f"it could not be built. It is declared but not tested: {kernel.reason}; make sure that the host does"
    elif NO_CONDA in text:
        missing = text.partition(NO_CONDA)[2].splitlines()[0].strip()
        return f"{where}the base has {missing}: take a base with conda, such as docker-stacks', or the keys pip and apt"
    elif is_network(log):
        reason = "a server did not answer; look at the host's network, the proxies and the mirrors"
    elif found:
        reason = f"there is no package {found}; correct its name or version"
    else:
        reason = "it failed"
    tail = "\n".join(f"  {line}" for line in last[-TAIL:])
    return f"{where}{reason}. The log ends with:\n{tail}"


def explain_base(log: str) -> str:
    """Return what to do if a registry refused the base of a declared image. Empty if none did."""
    return (
        "\nIf the base's registry asks for a login, give image_registries an entry for it."
        if REFUSED.search(log)
        else ""
    )


def explain_transfer(what: str, reference: str, log: str) -> str:
    """Return why a pull or a push failed, and what to do."""
    registry = reference.split("/")[0]
    if _PLATFORM.search(log):
        advice = "it is an image for another architecture; take one that has this host's"
    elif _NO_MANIFEST.search(log):
        advice = "the registry does not have it; correct the name or the tag"
    elif _LOGIN.search(log):
        advice = f"the registry asks for a login; give image_registries an entry for {registry}"
    elif is_network(log):
        advice = f"{registry} did not answer; look at its address and the host's network"
    else:
        advice = "see the engine's message"
    return f"{what} {reference} failed: {advice}.\n  " + "\n  ".join(lines(log)[-3:])
