# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare an instance on its host with its declaration, without changing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import docker_login
from ansible_collections.carrel.jupyter.plugins.module_utils._host import (
    claims,
    docker_logins,
    files,
    image_cache,
    instance_ports,
    removal,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.compose_project import (
    MADE_ANEW,
    STOPPED,
    ComposeProject,
    made_anew,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import Engine, Image
from ansible_collections.carrel.jupyter.plugins.module_utils._host.install import Installation
from ansible_collections.carrel.jupyter.plugins.module_utils._host.request import ask
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told
from ansible_collections.carrel.jupyter.plugins.module_utils._site import drift, health

# Errors whose texts say what to do and contain no secrets.
TOLD = (Told, OSError)
CALL_SECONDS = 20
REGISTRY_SECONDS = 30
# Bytes of an answer about a container, an image or a project's containers. Many engines are asked at once.
LONGEST = 4 * 2**20
URL_SECONDS = 10


@dataclass(frozen=True)
class Surroundings:
    """Facts that all instances of the host share."""

    engines: Mapping[str, Mapping[str, Any]]  # from instance_info
    programs: Mapping[str, str]  # the role's files by name
    connect_to: str | None = None  # Apache's address for requests to public URLs; None: no requests
    control_time: str | None = None


@dataclass
class Found:
    """Differences, as sentences and as lines of a diff."""

    reasons: list[str] = field(default_factory=list)
    tracker: Tracker = field(default_factory=Tracker)
    notes: list[str] = field(default_factory=list)
    # Services with differences that compose does not notice, and these differences.
    by_hand: dict[str, list[str]] = field(default_factory=dict)
    # The same of an earlier run, which recreated the containers because of them. For some this did not help.
    made_anew: Mapping[str, list[str]] = field(default_factory=dict)
    in_vain: dict[str, list[str]] = field(default_factory=dict)

    def all_reasons(self) -> list[str]:
        texts = [drift.file_reason(*noted) for noted in self.tracker.noted]
        return [*self.reasons, *dict.fromkeys(texts)]

    @property
    def settled(self) -> bool:
        """Whether recreated containers are as declared now. Then their record is no longer needed."""
        return bool(self.made_anew) and not self.in_vain and not self.all_reasons()


Look = Callable[[Mapping[str, Any], Surroundings, Found], None]


def looked(look: Look, instance: Mapping[str, Any], around: Surroundings) -> Found:
    """Return the differences. An error of one instance becomes a difference of this instance."""
    found = Found()
    try:
        # A run that was killed prevents resets until its claim ends. The next run removes the claim.
        if claims.claimant(instance["name"]):
            found.reasons.append("a playbook is changing it, or did not come to its end")
        found.made_anew = made_anew(MADE_ANEW.format(instance["name"]))
        look(instance, around, found)
    except TOLD as error:
        found.reasons.append(str(error))
    # Engine, web server and files may contain anything, so any error is possible. Its text may have a secret.
    except Exception as error:
        found.reasons.append(f"it cannot be compared, because of a {type(error).__name__}")
    return found


class Project(ComposeProject):
    """An instance's compose project, compared with its declaration."""

    def __init__(self, name: str, engine: Mapping[str, Any]) -> None:
        super().__init__(name, EngineAPI(engine["socket"], CALL_SECONDS, longest=LONGEST))
        self._engine = engine

    def users_running(self) -> list[str]:
        """Return the running containers of a hub's users."""
        api = EngineAPI(self._engine["socket"], CALL_SECONDS)  # there may be thousands of them
        found = api.call("GET", "/containers/json", label=[f"carrel.instance={self.name}", "carrel.user"])
        return [str(each["Id"]) for each in found if each["State"] not in STOPPED]

    def moved(self, name: str, inspected: Mapping[str, Any]) -> str | None:
        """Return why the image is not the registry's. The registry is asked with the account's log-in."""
        try:
            login = docker_login.header(name, docker_logins.read(self._engine["home"])[0])
            api = EngineAPI(self._engine["socket"], REGISTRY_SECONDS, longest=LONGEST)
            headers = {"X-Registry-Auth": login} if login else None
            answer = api.call("GET", f"/distribution/{quote(name, safe='/:@')}/json", headers=headers)
            digest = str(answer["Descriptor"]["digest"])
        except (EngineError, files.UnsafePathError, OSError, ValueError, LookupError, TypeError) as error:
            return f"the registry cannot be asked whether {name} is up to date: {error}"
        if any(known.endswith(f"@{digest}") for known in inspected.get("RepoDigests") or []):
            return None
        return f"the registry has another image under {name}"

    def examined(self, name: str, user: str | None, cache: str, inspected: Mapping[str, Any]) -> Image | None:
        """Return the facts of an earlier run about an image. None if there are none."""

        def never(command: list[str], text: str) -> tuple[int, str, str]:
            raise NotImplementedError(f"{command} would start a container")

        return Engine(self._engine["socket"], name, user, never).known(dict(inspected), image_cache.load(cache))

    def compare(
        self,
        found: Found,
        service: Mapping[str, Any],
        name: str,
        environment: Mapping[str, str],
        listed: Sequence[Mapping[str, Any]],
        pages: str | None = None,
    ) -> list[str]:
        """Return how a container differs from its service, and whether its server is healthy."""
        seen = self.examine(service, name, environment, listed, pages)
        if seen.differences is None:
            return [seen.state] if seen.state else []  # the caller reports an image that is not there
        differences = seen.differences.texts
        by_hand = printable.bounded(seen.differences.by_hand)
        # If a difference comes back, the engine makes it, or this comparison is wrong. In a lab, the other service may
        # have it by now.
        if by_hand and by_hand in found.made_anew.values():
            found.in_vain[name] = by_hand
            found.notes.append(
                f"{self.name}: the container of {name} still differs after it was recreated: {'; '.join(by_hand)}."
                " Please report this to the authors of carrel.jupyter"
            )
            differences = []
        elif by_hand:
            found.by_hand[name] = by_hand
        return [*([seen.state] if seen.state else []), *differences]


def unbuilt(image: Any) -> list[str]:
    """Report an image of jupyter_images that is not as declared yet, because it has no tag before that."""
    if not isinstance(image, Mapping):
        return []
    return [f"it gets the image {image['declared']} of jupyter_images, which is not as declared yet"]


def install(found: Found, wanted: Mapping[str, Any]) -> None:
    """Compare what install_files would write."""
    work = Installation(found.tracker, True)
    work.run(
        wanted.get("directories", []), wanted.get("files", []), wanted.get("secret_contents", {}),
        wanted.get("absent", []), wanted.get("limits", []),
    )  # fmt: skip
    found.notes += work.quotas.warnings()


def absent(instance: Mapping[str, Any], found: Found) -> None:
    name, directory = instance["name"], instance["directory"]
    state = removal.STATE.format(name)
    left = [f"{state}/reset", f"{state}/instance.json"]
    if removal.owns(name, directory):
        left.insert(0, directory)
    elif os.path.lexists(directory):
        found.notes.append(removal.stays(name, directory))
    left += [instance["token_file"]] if instance.get("token_file") else []
    found.reasons += [f"{path} is still there" for path in left if os.path.lexists(path)]


def url(
    around: Surroundings, instance: Mapping[str, Any], path: str, ports: list[int], expected: list[int]
) -> list[str]:
    """Check that the public URL answers, and that other accounts do not have the ports."""
    if around.connect_to is None:
        return []
    others = instance_ports.others(ports, instance["engine"])
    if others:
        return others
    target = health.target(instance["url"], path)
    seen = ask(target, around.connect_to, URL_SECONDS, False)
    return [] if seen.status in expected else [f"{target.url} does not answer as it should: {seen}"]


def strangers(engine: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return containers of an engine that belong to none of the instances."""
    if not engine.get("running"):
        return []
    try:
        listed = EngineAPI(engine["socket"], CALL_SECONDS).call("GET", "/containers/json?all=1")
        return printable.bounded(drift.strangers(names, listed))
    except (EngineError, LookupError, TypeError, AttributeError) as error:
        return [f"not known: {printable.text(str(error))}"]
