# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a container with its service in a compose project.

Docker's answer about the container is compared key by key with the declaration. compose's own notes about the
container are not enough: they do not show what was changed by hand later.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MADE_OF = "carrel.made-of"
Mount = tuple[str, bool]  # source, and whether the container may write
_SECONDS = 10**9
_DURATIONS = {
    "Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period", "StartInterval": "start_interval",
}  # fmt: skip
# Only compose uses these, or they are compared in another way.
_NOT_COMPARED = (
    "pull_policy",
    "env_file",
    "environment",
    "depends_on",
    "labels",
    "volumes",
    "networks",
    "stop_grace_period",
)
# Values that the engine's daemon.json decides if nothing is declared.
_ENGINE_CHOOSES = ("hostname", "shm_size", "runtime")
# docker and compose set these in each container, from `proxies` in the caller's config.json.
_PROXIES = frozenset(
    name for each in ("http", "https", "ftp", "no", "all") for name in (f"{each}_proxy", f"{each}_proxy".upper())
)


@dataclass(frozen=True)
class Differences:
    """Differences from the declaration, as texts without secrets."""

    # The container was made from another declaration. compose notices this by itself and recreates it.
    made: str | None
    image: list[str]
    others: list[str]

    @property
    def found(self) -> list[str]:
        return [*self.image, *self.others]

    @property
    def by_hand(self) -> list[str]:
        """Differences that compose does not notice."""
        return [] if self.made else self.found

    @property
    def texts(self) -> list[str]:
        if self.made:
            return [f"the container was made {self.made}", *self.found]
        return [f"the container was changed by hand: {text}" for text in self.found]


def made_of(service: Mapping[str, Any], environment: str = "") -> str:
    """Return a label's value: the digest of a service without its ports, and of the text of its env_file."""
    kept = {key: value for key, value in service.items() if key != "ports"}
    text = json.dumps(kept, sort_keys=True) + environment
    return hashlib.sha256(text.encode()).hexdigest()


def differences(
    project: str,
    service: Mapping[str, Any],
    environment: Mapping[str, str],
    image: Mapping[str, Any],
    container: Mapping[str, Any],
    pages: str | None = None,
) -> Differences:
    """Compare a container with its service.

    SERVICE is part of one of our compose projects, with all of its mounts. ENVIRONMENT is the content of its env_file.
    IMAGE and CONTAINER are the answers of `inspect`. PAGES is the directory of the login pages.
    """
    wanted = _plain(service)
    labels = container["Config"].get("Labels") or {}
    of_labels = [name for name, value in wanted.get("labels", {}).items() if labels.get(name) != value]
    older = container["Image"] != image["Id"]
    variables = _environment(environment, wanted.get("environment", {}), image, container)
    mounts = _mounts(wanted.get("volumes", []), image, container)
    others = [
        *_keys(project, wanted, image, container),
        *([f"environment {', '.join(variables)}"] if variables else []),
        *(f"mount at {at} {_mount(there)} instead of {_mount(declared)}" for at, there, declared in mounts),
        *(f"label {name}" for name in of_labels if name != MADE_OF),
    ]
    made = None
    if wanted.get("labels", {}).get(MADE_OF) and not labels.get(MADE_OF):
        made = "by hand"
    # made_of does not cover the image and the login pages, but compose compares them itself, and the text of env_file.
    elif (
        of_labels or older or not environment.keys().isdisjoint(variables) or any(_of(pages, *each) for each in mounts)
    ):
        made = "from another declaration"
    return Differences(made, list(_image(wanted, older, container)), others)


def _plain(value: Any) -> Any:
    """Return the service as compose understands it: `$$` is a dollar."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _image(wanted: Mapping[str, Any], older: bool, container: Mapping[str, Any]) -> Iterator[str]:
    if container["Config"]["Image"] != wanted["image"]:
        yield f"image {container['Config']['Image']} instead of {wanted['image']}"
    elif older:
        yield f"an older image than {wanted['image']} is now"


def _keys(
    project: str, wanted: Mapping[str, Any], image: Mapping[str, Any], container: Mapping[str, Any]
) -> Iterator[str]:
    of_image = image.get("Config") or {}
    config, host = container["Config"], container["HostConfig"]
    for key in wanted:
        if key != "image" and key not in _NOT_COMPARED and key not in _READ:
            yield f"{key} cannot be compared"
    for key, (read, default, declare) in _READ.items():
        declared = declare(wanted[key]) if key in wanted else default(of_image) if callable(default) else default
        there = read(config, host)
        if not _same_value(key, there, declared) and not (key in _ENGINE_CHOOSES and key not in wanted):
            yield f"{key.replace('_', ' ')} {_shown(there)} instead of {_shown(declared)}"
    # The hub and its proxy join and leave users' networks all the time.
    networks = sorted(
        name for name in container["NetworkSettings"].get("Networks") or {} if not name.startswith(f"{project}_users_")
    )
    declared_networks = sorted(f"{project}_{name}" for name in wanted.get("networks", ["default"]))
    if networks != declared_networks:
        yield f"networks {_shown(networks)} instead of {_shown(declared_networks)}"
    for key, usual in _UNDECLARED.items():
        if host.get(key) and host[key] not in usual:
            yield f"{key} {_shown(host[key])}, which is not declared"


def _same_value(key: str, there: Any, declared: Any) -> bool:
    if key == "cpus":  # compose stores it in 32 bits: 4.5 becomes 4.499999744
        return math.isclose(there, declared, rel_tol=1e-6)
    if key == "memswap_limit" and there == -1:  # the engine's answer if its kernel does not count swap
        return bool(declared)
    return bool(there == declared)


def _shown(value: Any) -> str:
    return "none" if value in (None, [], {}, 0, "") else json.dumps(value, ensure_ascii=False).strip('"')


def _environment(
    env_file: Mapping[str, str], own: Mapping[str, str], image: Mapping[str, Any], container: Mapping[str, Any]
) -> list[str]:
    """Return the names of the variables that differ."""
    declared = {**env_file, **own}
    wanted = {**_variables((image.get("Config") or {}).get("Env")), **declared}
    there = _variables(container["Config"].get("Env"))
    names = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    return [name for name in names if name in declared or name not in there or name not in _PROXIES]


def _variables(lines: Sequence[str] | None) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines or [])


def _mounts(
    declared: Sequence[Mapping[str, Any]], image: Mapping[str, Any], container: Mapping[str, Any]
) -> list[tuple[str, Mount | None, Mount | None]]:
    """Return mounts that differ, the present and the declared one. The image's own volumes need no declaration."""
    own = (image.get("Config") or {}).get("Volumes") or {}
    wanted: dict[str, Mount] = {volume["target"]: (volume["source"], not volume["read_only"]) for volume in declared}
    there: dict[str, Mount] = {
        mount["Destination"]: (mount["Source"], mount["RW"])
        for mount in container.get("Mounts") or []
        if mount["Type"] != "volume" or mount["Destination"] not in own
    }
    targets = sorted({*wanted, *there})
    return [(at, there.get(at), wanted.get(at)) for at in targets if wanted.get(at) != there.get(at)]


def _mount(mount: Mount | None) -> str:
    return f"{mount[0]} {'rw' if mount[1] else 'ro'}" if mount else "none"


def _of(pages: str | None, _at: str, *mounts: Mount | None) -> bool:
    """Whether a mount is a login page, now or as declared."""
    return pages is not None and any(mount and mount[0].startswith(f"{pages}/") for mount in mounts)


def _capabilities(names: Sequence[str] | None) -> list[str]:
    return sorted(name.removeprefix("CAP_") for name in names or [])


def _ulimits(declared: Mapping[str, Any]) -> list[list[Any]]:
    pairs = {
        name: (value["soft"], value["hard"]) if isinstance(value, Mapping) else (value, value)
        for name, value in declared.items()
    }
    return sorted([name, soft, hard] for name, (soft, hard) in pairs.items())


def _bindings(host: Mapping[str, Any]) -> list[str]:
    bindings = (host.get("PortBindings") or {}).items()
    return sorted(
        f"{each['HostIp']}:{each['HostPort']}:{port.removesuffix('/tcp')}" for port, all_of_it in bindings
        for each in all_of_it or []
    )  # fmt: skip


def _devices(declared: Mapping[str, Any]) -> list[list[Any]]:
    """Return the devices that compose is told to reserve; see compose.devices."""
    requests = declared["resources"]["reservations"]["devices"]
    return sorted([each["driver"], sorted(each["device_ids"])] for each in requests)


def _requests(there: Sequence[Mapping[str, Any]] | None) -> list[list[Any]]:
    return sorted([each.get("Driver"), sorted(each.get("DeviceIDs") or [])] for each in there or [])


def _duration(text: str) -> int:
    return int(text.removesuffix("s")) * _SECONDS


def _check(declared: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Test": declared["test"],
        "Retries": declared["retries"],
        **{name: _duration(declared[key]) for name, key in _DURATIONS.items()},
    }


def _same(value: Any) -> Any:
    return value


def _bytes(value: Any) -> int:
    """Convert a number, or a text of compose's such as 1g."""
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", str(value).lower())
    if not match:
        raise ValueError(f"{value!r} is no size")
    return int(match[1]) * int(1024 ** "bkmg".index(match[2] or "b"))


# key of compose: (what the container has, what it has without the key, what the declared value becomes)
_READ: dict[str, tuple[Callable[[Any, Any], Any], Any, Callable[[Any], Any]]] = {
    "user": (lambda config, host: config.get("User") or "", lambda image: image.get("User") or "", str),
    "command": (lambda config, host: config.get("Cmd") or [], lambda image: image.get("Cmd") or [], _same),
    "entrypoint": (
        lambda config, host: config.get("Entrypoint") or [], lambda image: image.get("Entrypoint") or [], _same,
    ),
    "hostname": (lambda config, host: config.get("Hostname"), None, _same),
    "healthcheck": (lambda config, host: config.get("Healthcheck"), lambda image: image.get("Healthcheck"), _check),
    "restart": (lambda config, host: (host.get("RestartPolicy") or {}).get("Name"), "no", _same),
    "cap_drop": (lambda config, host: _capabilities(host.get("CapDrop")), [], _capabilities),
    "cap_add": (lambda config, host: _capabilities(host.get("CapAdd")), [], _capabilities),
    "security_opt": (lambda config, host: sorted(host.get("SecurityOpt") or []), [], sorted),
    "read_only": (lambda config, host: bool(host.get("ReadonlyRootfs")), False, _same),
    "mem_limit": (lambda config, host: host.get("Memory") or 0, 0, _bytes),
    "memswap_limit": (lambda config, host: host.get("MemorySwap") or 0, 0, _bytes),
    "cpus": (lambda config, host: (host.get("NanoCpus") or 0) / _SECONDS, 0, float),
    "pids_limit": (lambda config, host: max(host.get("PidsLimit") or 0, 0), 0, _same),
    "shm_size": (lambda config, host: host.get("ShmSize") or 0, 0, _bytes),
    "ulimits": (
        lambda config, host: sorted([each["Name"], each["Soft"], each["Hard"]] for each in host.get("Ulimits") or []),
        [], _ulimits,
    ),
    "deploy": (lambda config, host: _requests(host.get("DeviceRequests")), [], _devices),
    "ports": (lambda config, host: _bindings(host), [], sorted),
    "runtime": (lambda config, host: host.get("Runtime"), None, _same),
    "annotations": (lambda config, host: host.get("Annotations") or {}, {}, _same),
}  # fmt: skip
# Keys that could give a container more than it needs, with the values that the engine chooses by default.
_UNDECLARED: dict[str, tuple[str, ...]] = {
    "Privileged": (), "PidMode": (), "UTSMode": (), "UsernsMode": (), "IpcMode": ("private", "shareable"),
    "Devices": (), "VolumesFrom": (), "CgroupParent": (), "GroupAdd": (),
}  # fmt: skip
