# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JupyterHub's whole configuration: ours, then the administrator's Python files (extra_config)."""

from __future__ import annotations

import ast
import copy
import difflib
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jupyterhub.app import JupyterHub
from traitlets import HasTraits
from traitlets.config import Config, Configurable
from traitlets.config.loader import LazyConfigValue
from traitlets.utils.importstring import import_item

from . import custom
from .config import own_settings, single, traits

# Traits on which the collection relies, though no inventory sets them, and what to do instead.
RELIED: dict[str, dict[str, str]] = {
    "JupyterHub": {
        "admin_users": "write admin: true beside the user in users",
        "load_groups": "write the groups in groups",
        "proxy_class": "leave it out, the proxy runs beside the hub",
        "reset_db": "leave it out, it deletes everything",
        "subdomain_host": "write user_domains in the inventory",
        "subdomain_hook": "leave it out, Apache and the certificate know one level of names below the hub's",
        "internal_ssl": "leave it out, the proxy does not speak it",
    },
    "spawner": {
        "extra_host_config": "write limits, devices and the like in the inventory",
        "mounts": "write mounts of a group in groups",
        "volumes": "write mounts of a group in groups",
        "read_only_volumes": "write mounts of a group in groups",
        "name_template": "leave it out, the collection finds containers by their names",
        "format_volume_name": "leave it out, mounts have their names",
        "pull_policy": "leave it out, images are there before anybody starts a server",
        "remove": "leave it out, because each start makes a new container from the current image",
        "network_name": "leave it out, each server has a network of its own",
        "use_internal_ip": "leave it out, servers are reached on their network",
        "mem_limit": "write limits: {memory: ...}",
        "cpu_limit": "write limits: {cpus: ...}",
    },
    "authenticator": {
        "allow_all": "write guests: true in authenticator, and allow_all in its settings",
        "allowed_users": "write the users in users",
        "admin_users": "write admin: true beside the user in users",
        "admin_groups": "write admin: true beside the user in users",
        "blocked_users": "write blocked_users in the inventory",
        "manage_groups": "write provider_groups beside a group in groups",
    },
}
ROLE = "the role sets it; if the inventory has a key for it, change that"


# Traits that admit people who are not in the roster. allowed_idps is an exception, because CILogon needs it.
RULE = re.compile(r"allow(ed)?_(?!idps$)")
MADE_OF_SETTINGS = ("allow_all", "allowed_groups")


class Problem(NamedTuple):
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Family(NamedTuple):
    """A class of ours with its base classes, and traits that may not be set for any of them."""

    classes: set[str]
    forbidden: dict[str, str]  # by trait: what to do instead


class Single(NamedTuple):
    """One authenticator: the only one, or one of several."""

    place: str  # its path in the inventory
    given: Mapping[str, Any]
    cls: Any
    traits: Mapping[str, Any]
    member: Mapping[str, Any] | None  # its entry if there are several


class Whole(NamedTuple):
    config: Config
    problems: list[Problem]
    lines: dict[tuple[str, str], str]  # by section and trait: the file and line that set it


def configure(given: Mapping[str, Any], secrets: Mapping[str, Any], state: Path, config: Config) -> Whole:
    """Fill CONFIG. Returns errors in the administrator's part. Errors in ours raise Unusable."""
    ours = traits(given, secrets, state)
    for place, authenticator, slot, key in _slots(given, ours):
        if authenticator["type"] == "custom":
            slot[key] = custom.made(authenticator["class"], place)
    for section, values in ours.items():
        config[section].update(copy.deepcopy(values))
    whole = Whole(config, [], {})
    whole.problems.extend(_check_settings(given, secrets, ours))
    families = _families(given, ours)
    for file in given["extra_config"]:
        whole.problems.extend(_run(file["name"], file["text"], ours, families, whole))
    return whole


def _slots(
    given: Mapping[str, Any], ours: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any], str]]:
    """Yield each authenticator's path in the inventory, its keys, and the mapping and key with its class."""
    if given["authenticator"]["type"] != "several":
        yield "authenticator", given["authenticator"], ours["JupyterHub"], "authenticator_class"
        return
    members = ours["CarrelSeveralAuthenticator"]["members"]
    for index, (authenticator, member) in enumerate(zip(single(given), members, strict=True)):
        yield f"authenticator.each[{index}]", authenticator, member, "class"


def authenticators(given: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Single]:
    for place, authenticator, slot, key in _slots(given, ours):
        cls = cls_of(slot[key])
        member = slot if key == "class" else None
        yield Single(place, authenticator, cls, member["traits"] if member else ours[cls.__name__], member)


def cls_of(item: Any) -> Any:
    """Return a class, or the one at a dotted name."""
    return import_item(item) if isinstance(item, str) else item


def _check_settings(given: Mapping[str, Any], secrets: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the authenticators' traits in the inventory."""
    for one in authenticators(given, ours):
        known = one.cls.class_trait_names(config=True)
        for name, value in sorted(own_settings(one.given, secrets).items()):
            text = None
            if name not in known:
                text = f"the authenticator has no such trait{hint(name, known)}"
            elif RULE.match(name) and not one.given.get("guests"):
                text = "it lets in people who are not listed, and counts with guests: true alone"
            elif name in MADE_OF_SETTINGS:
                continue
            elif name in RELIED["authenticator"]:
                text = RELIED["authenticator"][name]
            elif one.traits[name] != value:
                text = ROLE
            if text:
                yield Problem(f"{one.place}.settings.{name}", text)


def _families(given: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Family]:
    hub = ours["JupyterHub"]
    authenticator = cls_of(hub["authenticator_class"])
    found = []
    for kind, cls, mine in (
        ("JupyterHub", JupyterHub, hub),
        ("spawner", cls_of(hub["spawner_class"]), ours["CarrelSpawner"]),
        ("authenticator", authenticator, ours[authenticator.__name__]),
        *(("authenticator", one.cls, one.traits) for one in authenticators(given, ours)),
    ):
        forbidden = {**dict.fromkeys(mine, ROLE), **RELIED[kind]}
        found.append(Family({base.__name__ for base in cls.__mro__}, forbidden))
    return found


def _run(name: str, text: str, ours: Mapping[str, Any], families: Iterable[Family], whole: Whole) -> Iterator[Problem]:
    """Run one statement after the other, to know which line sets a trait."""
    config = whole.config
    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        yield Problem(f"{name}, line {getattr(error, 'lineno', None) or 1}", str(getattr(error, "msg", error)))
        return
    namespace: dict[str, Any] = {
        "__name__": "extra_config",
        "__file__": name,
        "c": config,
        "get_config": lambda: config,
    }
    lost: set[tuple[str, str]] = set()
    before = _pairs(config)
    for statement in tree.body:
        problem = _execute(statement, name, namespace)
        if problem:
            yield problem
            return
        place = f"{name}, line {statement.lineno}"
        new = _pairs(config) - before
        before |= new
        for section, trait in sorted(new):
            whole.lines[section, trait] = place
            for family in families:
                if section in family.classes and trait in family.forbidden:
                    yield Problem(place, f"c.{section}.{trait} can't be set here: {family.forbidden[trait]}")
                    break
        for section, values in ours.items():
            for trait, value in values.items():
                if (section, trait) not in lost and not _holds(config[section].get(trait), value):
                    lost.add((section, trait))
                    yield Problem(place, f"c.{section}.{trait} can't be changed here: {ROLE}")


def _execute(statement: ast.stmt, name: str, namespace: dict[str, Any]) -> Problem | None:
    try:
        exec(compile(ast.Module([statement], []), name, "exec", dont_inherit=True), namespace)  # noqa: S102
    except (Exception, SystemExit) as error:  # the administrator's code may raise anything
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Problem(f"{name}, line {frames[-1] if frames else statement.lineno}", text)
    return None


def _pairs(config: Config) -> set[tuple[str, str]]:
    return {(section, trait) for section, values in config.items() if isinstance(values, Config) for trait in values}


def _holds(now: Any, ours: Any) -> bool:
    """Whether our values are still there. Lists and mappings may have more."""
    if isinstance(ours, Mapping):
        return isinstance(now, Mapping) and all(key in now and _holds(now[key], item) for key, item in ours.items())
    if isinstance(ours, (list, set)):
        return isinstance(now, type(ours)) and all(item in now for item in ours)
    return bool(now == ours)


def unknown(whole: Whole) -> Iterator[Problem]:
    """Yield the administrator's traits that no class has, or whose value is refused."""
    classes = {cls.__name__: cls for cls in _classes(Configurable)}
    for (section, trait), place in whole.lines.items():
        cls = classes.get(section)
        if cls is None:
            yield Problem(place, f"there is no class {section}{hint(section, classes)}")
            continue
        # Settings of a class apply to its subclasses, too.
        known = {name for each in {cls, *_classes(cls)} for name in each.class_trait_names(config=True)}
        if trait not in known:
            yield Problem(place, f"{section} has no trait {trait}{hint(trait, known)}")
            continue
        problem = _refused(cls.class_traits(config=True).get(trait), whole.config[section][trait])
        if problem:
            yield Problem(place, f"c.{section}.{trait}: {problem}")


def _refused(trait: Any, value: Any) -> str | None:
    """Return a trait's complaint about a value. Additions, and traits without a check of their own, are left out."""
    if not hasattr(trait, "validate") or isinstance(value, LazyConfigValue) or (value is None and trait.allow_none):
        return None
    try:
        trait.validate(HasTraits(), value)
    except Exception as error:  # TraitError, or anything that a class raises
        return re.sub(r"(trait) of an? \w+ instance", r"\1", str(error))
    return None


def _classes(base: type[Any]) -> set[type[Any]]:
    found: set[type[Any]] = set()
    for cls in base.__subclasses__():
        found |= {cls} | _classes(cls)
    return found


def hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
