# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of an instance's single values."""

from __future__ import annotations

import datetime
import ipaddress
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    Reader,
    given,
    has_control,
    known,
    listing,
    read,
    text,
    wrong_type,
)

TLS_MODES = ("files", "selfsigned", "acme", "none")

# Variables that the role lab sets.
LAB_ENVIRONMENT: dict[str, str] = {
    "JUPYTER_CONFIG_PATH": "leave it out",
    "JUPYTER_TOKEN": "use the key token",
    "JUPYTER_TOKEN_FILE": "use the key token",
    "JUPYTER_PASSWORD": "use the key password",
    "JUPYTER_WEBURL": "the key url does it",
    "JUPYTER_WEBPORT": "the key port does it",
    "JUPYTER_AUTOSHUTDOWN_TIMEOUT": "use the key idle_shutdown_seconds",
    "COLLABORATIVE": "use the key collaboration",
}

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

# Distribution's grammar of references (github.com/distribution/reference, reference.go).
_IMAGE = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/)?"
    r"(?P<path>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)

# Places where a generated token could be lost, be unreadable for the account, or be replaced by others.
DATA_ROOT = "/srv/docker"  # of the engines, by default
_FORBIDDEN_TOKENS = {
    **dict.fromkeys(("/proc", "/sys"), "it is the kernel's"),
    **dict.fromkeys(("/dev", "/run", "/var/run"), "it is empty after a reboot"),
    **dict.fromkeys(("/tmp", "/var/tmp"), "anybody can write there"),  # noqa: S108 - refused
    "/home": "accounts write there",
    "/root": "the engine's account can't go there",
    DATA_ROOT: "engines write there",
    "/var/lib/carrel": "accounts write there",
}

_FORBIDDEN_SOURCES = {
    "/etc": "it holds the host's configuration",
    "/proc": "it is the kernel's",
    "/sys": "it is the kernel's",
    "/dev": "it holds the host's devices",
    "/root": "it is root's home",
    "/run": "it holds the sockets of the host's services",
    "/var/run": "it holds the sockets of the host's services",
}


def secret(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str):
        problems.add(path, "not_text", got=kind_of(value))
        return INVALID
    checked: str | Invalid = text("it in quotes")(value, path, problems)
    if not isinstance(checked, Invalid) and checked != checked.strip():
        problems.add(path, "secret_space")
        return INVALID
    return checked


def size(low: int, high: int, low_text: str, high_text: str, zero: bool = False) -> Reader:
    """Return a reader of bytes: a whole number, or text with a binary unit as in Docker. ZERO: 0 means no limit."""

    def reader(value: Any, path: str, problems: Problems) -> int | Invalid:
        if isinstance(value, str):
            match = _SIZE.fullmatch(value)
            if not match:
                problems.add(path, "size", value=show(value))
                return INVALID
            amount = int(float(match[1]) * _UNITS[match[2].upper()])
        elif isinstance(value, int) and not isinstance(value, bool):
            amount = int(value)
        else:
            return wrong_type(value, 'a size in quotes, for example "8G"', path, problems)
        if not low <= amount <= high and not (zero and amount == 0):
            problems.add(path, "size_range", value=show(value), low=low_text, high=high_text)
            return INVALID
        return amount

    return reader


def size_text(amount: float) -> str:
    """Return bytes as people write them, such as 400M or 1.5G. Long fractions are rounded."""
    for unit in "TGMK":
        number = amount / _UNITS[unit]
        if number >= 1 and number * 4 == int(number * 4):
            return f"{number:g}{unit}"
    unit = next((unit for unit in "TGMK" if amount >= _UNITS[unit]), "")
    return f"{amount / _UNITS[unit]:.1f}{unit}" if unit else f"{amount:g}"


def id_pair(value: Any, path: str, problems: Problems) -> str | Invalid:
    # An engine's account has 65,536 ids, so greater ones do not exist in its containers.
    match = re.fullmatch(r"([0-9]{1,5}):([0-9]{1,5})", value) if isinstance(value, str) else None
    if not match or int(match[1]) > 65535 or int(match[2]) > 65535:
        problems.add(path, "ids", example="0:0" if value in ("root", 0, "0") else "1000:100")
        return INVALID
    return f"{int(match[1])}:{int(match[2])}"


# A vendor with dots, a class, a name (Container Device Interface, SPEC.md). Docker splits its list of them at commas.
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}/[A-Za-z][A-Za-z0-9_-]{0,62}=[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


def device(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        problems.add(path, "device", value=show(value))
        return INVALID
    return value


def devices(value: Any, path: str, problems: Problems) -> list[str] | Invalid:
    found: list[str] | Invalid = listing(device, "a list of CDI names")(value, path, problems)
    twice = [] if isinstance(found, Invalid) else sorted({name for name in known(found) if found.count(name) > 1})
    for name in twice:
        problems.add(path, "device_twice", value=show(name))
    return INVALID if twice else found


def network(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Read a network into its normal form. An address is a network of one."""
    if not isinstance(value, str):
        return wrong_type(value, "a network in quotes, for example 192.0.2.0/24", path, problems)
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError:
        problems.add(path, "network", value=show(value))
        return INVALID


def _absolute(value: str) -> str | None:
    """Return the normal form of an absolute path below /. None for anything else."""
    if not value.startswith("/") or ".." in value.split("/") or has_control(value):
        return None
    normal = "/" + posixpath.normpath(value).lstrip("/")
    return None if normal == "/" else normal


def inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _path_reader(message_id: str, example: str, forbidden: tuple[str, ...]) -> Reader:
    def reader(value: Any, path: str, problems: Problems) -> str | Invalid:
        if not isinstance(value, str):
            return wrong_type(value, f"an absolute path, for example {example}", path, problems)
        normal = _absolute(value)
        if normal is None or any(inside(normal, folder) for folder in forbidden):
            problems.add(path, message_id, value=show(value))
            return INVALID
        return normal

    return reader


container_path = _path_reader("container_path", "/home/jovyan/work", ("/proc", "/sys", "/dev"))
host_path = _path_reader("host_path", "/data/maps", ())


def volume_source(value: Any, path: str, problems: Problems) -> str | Invalid:
    source: str | Invalid = host_path(value, path, problems)
    if isinstance(source, Invalid):
        return source
    reason = next((why for folder, why in _FORBIDDEN_SOURCES.items() if inside(source, folder)), None)
    if source.endswith("/docker.sock"):
        reason = "Docker's socket gives control of the whole engine"
    if reason:
        problems.add(path, "source_forbidden", value=show(source), reason=reason)
        return INVALID
    return source


def token_file(value: Any, path: str, problems: Problems) -> str | Invalid:
    file: str | Invalid = host_path(value, path, problems)
    if isinstance(file, Invalid):
        return file
    reason = next((why for folder, why in _FORBIDDEN_TOKENS.items() if inside(file, folder)), None)
    if reason:
        problems.add(path, "token_place", value=show(file), reason=reason)
        return INVALID
    return file


def base_dir(value: Any, path: str, problems: Problems) -> str | Invalid:
    folder: str | Invalid = volume_source(value, path, problems)
    # In a crontab, a space ends a word of the command, and a % ends the command (crontab(5)).
    if not isinstance(folder, Invalid) and not re.fullmatch(r"[A-Za-z0-9._/-]+", folder):
        problems.add(path, "base_dir", value=show(folder))
        return INVALID
    return folder


def _key_path(path: str, key: object) -> str:
    """Return the path of a key that the administrator chose. A key such as `PASSWORD=secret` is not shown."""
    return f"{path}.{key}" if isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", key) else path


def texts(
    value: Any,
    wanted: str,
    path: str,
    problems: Problems,
    check_key: Callable[[str, str], bool] = lambda key, here: True,
) -> dict[str, str] | Invalid:
    """Read a mapping of text to text: YAML reads 022 as 18. Messages never show values. CHECK_KEY reports bad keys."""
    if not isinstance(value, Mapping):
        return wrong_type(value, wanted, path, problems)
    result: dict[str, str] = {}
    for key, item in value.items():
        here = _key_path(path, key)
        good = isinstance(key, str) and check_key(key, here)
        if not isinstance(key, str):
            problems.add(path, "key_not_text", got=kind_of(key))
        if isinstance(item, (int, float, datetime.date)):
            problems.add(here, "not_text", got=kind_of(item))
        elif isinstance(item, str) and has_control(item.translate({9: None, 10: None})):
            problems.add(here, "control_character")
        elif isinstance(item, str) and good:
            result[str(key)] = str(item)
        elif item is not INVALID and not isinstance(item, str):
            wrong_type(item, "text in quotes", here, problems)
    return result


def variables(wanted: str, reserved: Callable[[str], str | None] = lambda key: None) -> Reader:
    """Return a reader of variables. RESERVED says what to use instead of a variable that the role sets."""

    def reader(value: Any, path: str, problems: Problems) -> dict[str, str] | Invalid:
        def check_key(key: str, here: str) -> bool:
            instead = reserved(key)
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                problems.add(here, "environment_name")
                return False
            if instead:
                problems.add(here, "environment_reserved", instead=instead)
            return not instead

        return texts(value, wanted, path, problems, check_key)

    return reader


def environment(reserved: Callable[[str], str | None]) -> Reader:
    return variables("a mapping, for example {LANG: de_DE.UTF-8}", reserved)


def persist(taken: str | None = None) -> Reader:
    """Return a reader of folders by name. TAKEN is the name of a folder that is always there."""

    def reader(value: Any, path: str, problems: Problems) -> dict[str, str] | Invalid:
        if not isinstance(value, Mapping):
            return wrong_type(value, "a mapping, for example {conda: /opt/conda/envs}", path, problems)
        result: dict[str, str] = {}
        for name, item in value.items():
            good = isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name) and name != taken
            target = read(container_path, item, f"{path}.{name}" if good else path, problems)
            if not good:
                shown = show(name) if isinstance(name, str) else kind_of(name)
                problems.add(path, "persist_name", value=shown, taken=taken)
            elif given(target):
                result[str(name)] = target
        return result

    return reader


def image(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str):
        return wrong_type(value, "an image reference, for example registry.example.org/lab:1.0", path, problems)
    match = _IMAGE.fullmatch(value)
    # Docker treats 64 hexadecimal digits as an image's id. A name has at most 255 characters.
    if not match or len(value) > 255 + 200 or len(match["path"]) > 255 or re.fullmatch(r"[0-9a-f]{64}", value):
        problems.add(path, "image")
        return INVALID
    return str(value)


def declared_name(source: Any) -> str | None:
    """Return NAME of {declared: NAME}. Empty if it is invalid."""
    if not isinstance(source, Mapping):
        return None
    return "" if source["declared"] is INVALID else source["declared"]


def image_text(source: Any) -> str:
    name = declared_name(source)
    return str(source) if name is None else f"{name} (declared)"


def has_digest(source: Any) -> bool:
    match = _IMAGE.fullmatch(source) if isinstance(source, str) else None
    return bool(match and match["digest"])


def has_tag_or_digest(source: Any) -> bool:
    """Whether the image has a tag or a digest. A declared image gets a tag from its content."""
    match = _IMAGE.fullmatch(source) if isinstance(source, str) else None
    return declared_name(source) is not None or bool(match and (match["tag"] or match["digest"]))
