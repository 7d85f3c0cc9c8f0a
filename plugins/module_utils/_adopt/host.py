# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a survey found, as the variables of a host, and what is left to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import hub, lab, takeover
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.address import UnknownAddressError
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.requirements import FIRST_ORDINARY_UID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import read_name, taken
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID

SECRETS = "vault_jupyter_adopted"


@dataclass
class Adoption:
    """`notes` by instance; `left` is what is not adopted, and why; `takeovers` is the variable jupyter_adopted.

    `starters` are files that start an old setup again and that a takeover leaves alone, by what it is called with.
    """

    instances: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    takeovers: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    starters: dict[str, list[str]] = field(default_factory=dict)


def adopt(survey: Mapping[str, Any]) -> Adoption:
    """The result of instance_survey as an inventory."""
    adoption = Adoption()
    for engine in survey["engines"]:
        _engine(engine, survey, adoption)
    for path in survey["stopped"]:
        adoption.left.append(
            f"{path}: no container of this compose file was found; if it is Jupyter's, start it with `docker compose "
            "up -d`, and adopt again"
        )
    return adoption


def _engine(engine: Mapping[str, Any], survey: Mapping[str, Any], adoption: Adoption) -> None:
    account, containers = engine["account"], engine["containers"]
    whose = f"the engine of {account}" if account else "Docker as root"
    if engine["problem"]:
        adoption.left.append(f"{whose}: {engine['problem']}")
        return
    servers = [container for container in containers if lab.is_server(container)]
    if account and servers and not engine["unit"]:
        adoption.left.append(
            f"{whose}: it is not run by a unit ~/.config/systemd/user/docker.service, so nothing here knows how to "
            "stop it: install it with dockerd-rootless-setuptool.sh, and adopt again"
        )
        return
    if account and servers and engine["uid"] < FIRST_ORDINARY_UID:
        adoption.left.append(
            f"{whose}: it is a system account (uid {engine['uid']}), and no engine runs as one here: declare a new lab "
            "beside it, and copy its files (docs/howto/adopt.md)"
        )
        return
    hubs = [container for container in containers if lab.is_hub(container)]
    if not servers and not hubs:
        for container in filter(lab.is_hidden, containers):
            adoption.left.append(
                f"{container['name']} of {whose} looks like a JupyterLab, but publishes no port of the host: if people "
                "reach it, publish its port in the compose file (ports), start it again, and adopt again"
            )
    for container in hubs:
        try:
            _hub(engine, container, survey, adoption)
        except (lab.Refusal, UnknownAddressError) as error:
            adoption.left.append(f"{container['name']} of {whose}: {error}")
    if not account:
        for container in servers:
            adoption.left.append(
                f"{container['name']} runs as root's, and its files belong to ids that a rootless engine does not "
                "have: declare a new lab beside it, and copy its files (docs/howto/adopt.md)"
            )
        return
    adopted = []
    for container in servers:
        try:
            adopted.append(_lab(engine, container, len(servers) == 1, survey, adoption))
        except (lab.Refusal, UnknownAddressError) as error:
            adoption.left.append(f"{container['name']} of {whose}: {error}")
    for found, problem in [*_misplaced(adopted, engine, survey)]:
        adoption.left.append(f"{found.old['container']} of {whose}: {problem}, and adopt again")
        _drop(found, adoption)
        adopted.remove(found)
    if not adopted:
        return
    if len(adopted) < len(servers) or hubs:
        # The whole old engine stops, and would take others along.
        names = ", ".join(found.entry["name"] for found in adopted)
        adoption.left.append(
            f"{whose}: {names} cannot be taken over while the others of this engine cannot: see to those first, or "
            "stop and remove them"
        )
        for found in adopted:
            _drop(found, adoption)
        return
    rest = [container for container in containers if container not in servers]
    adoption.notes[adopted[0].entry["name"]] += lab.others(rest)
    files = [file for found in adopted for file in found.files]
    shared = {file["path"] for file in files if file["shared"]}
    adoption.takeovers.append(
        {
            "account": account,
            "unit": engine["unit"],
            "instances": [found.old for found in adopted],
            "files": sorted({file["path"] for file in files} - shared),
            "shared": sorted(shared),
        }
    )
    adoption.starters[account] = _starters({account, *(one["directory"] for one in servers)}, survey)


def _misplaced(
    adopted: list[lab.Found], engine: Mapping[str, Any], survey: Mapping[str, Any]
) -> Iterator[tuple[lab.Found, str]]:
    """Labs whose notebooks cannot be moved, and why."""
    notebooks = {found.old["container"]: found.old["notebooks"] for found in adopted}
    stays = [engine["home"], survey["base_dir"], *(path for found in adopted for path in found.old["stays"])]
    for found in adopted:
        problem = takeover.place_problem(found.old["container"], notebooks, stays)
        if problem:
            yield found, problem


def _starters(projects: set[str | None], survey: Mapping[str, Any]) -> list[str]:
    return [one["path"] for one in survey["starters"] if projects.intersection(one["projects"])]


def _lab(
    engine: Mapping[str, Any], container: Mapping[str, Any], alone: bool, survey: Mapping[str, Any], adoption: Adoption
) -> lab.Found:
    wanted = str(engine["account"] if alone else container["project"] or container["name"])
    if read_name(wanted, "name", Problems()) is INVALID:
        raise lab.Refusal(
            f"{wanted!r} is not a name for an instance or an engine here (a-z, 0-9 and '-'): rename the account, or "
            "declare a new lab"
        )
    reason, left = taken(wanted), _not_taken(wanted)
    if read_name(left, "name", Problems()) is INVALID:
        raise lab.Refusal(f"no lab can be called {wanted}, because {reason}: rename the account, or declare a new lab")
    name = _free(left, "lab", survey, adoption)
    found = lab.describe(name, container, engine, survey)
    if reason:
        found.notes.append(f"it is called {name}, because as {wanted} {reason}")
    found.entry.update({key: hub.Reference(f"{{{{ {SECRETS}['{name}'].{key} }}}}") for key in found.secrets})
    _add(found, adoption)
    return found


def _hub(
    engine: Mapping[str, Any], container: Mapping[str, Any], survey: Mapping[str, Any], adoption: Adoption
) -> None:
    wanted = _not_taken(re.sub("[^a-z0-9]+", "-", container["name"].lower()).strip("-"))[:31].strip("-")
    name = _free("hub" if read_name(wanted, "name", Problems()) is INVALID else wanted, "hub", survey, adoption)
    found = hub.describe(name, container, engine, survey, SECRETS)
    _add(found, adoption)
    adoption.takeovers.append(found.old)
    adoption.starters[name] = _starters({engine["account"], container["directory"]}, survey)


def _not_taken(name: str) -> str:
    return re.sub("^(backup-)+", "", name)


def _add(found: lab.Found, adoption: Adoption) -> None:
    name = found.entry["name"]
    adoption.instances.append(found.entry)
    if found.secrets:
        adoption.secrets[name] = found.secrets
    adoption.notes[name] = found.notes


def _drop(found: lab.Found, adoption: Adoption) -> None:
    name = found.entry["name"]
    adoption.instances = [entry for entry in adoption.instances if entry["name"] != name]
    adoption.secrets.pop(name, None)
    adoption.notes.pop(name, None)


def _free(wanted: str, kind: str, survey: Mapping[str, Any], adoption: Adoption) -> str:
    """The instance has a folder of its own beside the old one, which is mostly the account's home."""
    used = {*survey["folders"], *survey["instances"], *(entry["name"] for entry in adoption.instances)}
    if kind == "hub":  # its engine is a new account
        used |= {engine["account"] for engine in survey["engines"]}
    if wanted in used:
        wanted = f"{wanted[:27]}-{kind}"
    if wanted in used:
        raise lab.Refusal(f"an instance or a folder called {wanted} is there already: move it away, and adopt again")
    return wanted
