# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container differs from the service of a compose project that it should have been made from.

Docker's answer about the container is compared key by key with what is declared, not with what compose noted down when
it made it, so that whatever was done to it since is seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MADE_OF = "carrel.made-of"
_SHM_BYTES = 64 * 2**20  # Docker's default
_SECONDS = 10**9
_DURATIONS = {
    "Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period", "StartInterval": "start_interval",
}  # fmt: skip
# Compose's own business, and compared in another way.
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


def made_of(service: Mapping[str, Any], environment: str = "") -> str:
    """The digest of a service, but for its ports, and of its env_file's text, for a label."""
    kept = {key: value for key, value in service.items() if key != "ports"}
    text = json.dumps(kept, sort_keys=True) + environment
    return hashlib.sha256(text.encode()).hexdigest()


def differences(
    project: str,
    service: Mapping[str, Any],
    environment: Mapping[str, str],
    image: Mapping[str, Any],
    container: Mapping[str, Any],
) -> list[str]:
    """Return what is not as declared, a text each; no secret is in one.

    SERVICE is one of a compose project of ours, with all its mounts; IMAGE and CONTAINER are what `inspect` says.
    """
    wanted = _plain(service)
    found = [
        *_image(wanted, image, container),
        *_keys(project, wanted, image, container),
        *_environment({**environment, **wanted.get("environment", {})}, image, container),
        *_mounts(wanted.get("volumes", []), image, container),
    ]
    labels = container["Config"].get("Labels") or {}
    declared = wanted.get("labels", {})
    if not same_declaration(wanted, container):
        made = "from another declaration" if labels.get(MADE_OF) else "by hand"
        return [f"the container was made {made}", *found]
    found += [f"label {name}" for name, value in declared.items() if labels.get(name) != value]
    return [f"the container was changed by hand: {text}" for text in found]


def same_declaration(service: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Whether the container was made from this declaration, so that compose sees no reason to make it anew."""
    label = (container["Config"].get("Labels") or {}).get(MADE_OF)
    return bool(label == service.get("labels", {}).get(MADE_OF))


def _plain(value: Any) -> Any:
    """The service as compose understands it: `$$` is a dollar."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _image(wanted: Mapping[str, Any], image: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    if container["Config"]["Image"] != wanted["image"]:
        yield f"image {container['Config']['Image']} instead of {wanted['image']}"
    elif container["Image"] != image["Id"]:
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
        if there != declared and not (key == "hostname" and key not in wanted):
            yield f"{key.replace('_', ' ')} {_shown(there)} instead of {_shown(declared)}"
    networks = sorted((container["NetworkSettings"].get("Networks") or {}).keys())
    declared_networks = sorted(f"{project}_{name}" for name in wanted.get("networks", ["default"]))
    if networks != declared_networks:
        yield f"networks {_shown(networks)} instead of {_shown(declared_networks)}"
    for key, usual in _UNDECLARED.items():
        if (host.get(key) or usual) != usual:
            yield f"{key} {_shown(host[key])}, which nobody declared"


def _shown(value: Any) -> str:
    return "none" if value in (None, [], {}, 0, "") else json.dumps(value, ensure_ascii=False).strip('"')


def _environment(declared: Mapping[str, str], image: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    wanted = {**_variables((image.get("Config") or {}).get("Env")), **declared}
    there = _variables(container["Config"].get("Env"))
    names = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if names:
        yield f"environment {', '.join(names)}"


def _variables(lines: Sequence[str] | None) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines or [])


def _mounts(
    declared: Sequence[Mapping[str, Any]], image: Mapping[str, Any], container: Mapping[str, Any]
) -> Iterator[str]:
    """The image's own volumes are there without being declared."""
    own = (image.get("Config") or {}).get("Volumes") or {}
    wanted = {volume["target"]: (volume["source"], not volume["read_only"]) for volume in declared}
    there = {
        mount["Destination"]: (mount["Source"], mount["RW"])
        for mount in container.get("Mounts") or []
        if mount["Type"] != "volume" or mount["Destination"] not in own
    }
    for target in sorted({*wanted, *there}):
        if wanted.get(target) != there.get(target):
            where = f"at {target}"
            yield f"mount {where} {_mount(there.get(target))} instead of {_mount(wanted.get(target))}"


def _mount(mount: tuple[str, bool] | None) -> str:
    return f"{mount[0]} {'rw' if mount[1] else 'ro'}" if mount else "none"


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
    """Those that compose is asked to reserve; see compose.devices."""
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
    """A number, or a text of compose's such as 1g."""
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
    "shm_size": (lambda config, host: host.get("ShmSize") or _SHM_BYTES, _SHM_BYTES, _bytes),
    "ulimits": (
        lambda config, host: sorted([each["Name"], each["Soft"], each["Hard"]] for each in host.get("Ulimits") or []),
        [], _ulimits,
    ),
    "deploy": (lambda config, host: _requests(host.get("DeviceRequests")), [], _devices),
    "ports": (lambda config, host: _bindings(host), [], sorted),
}  # fmt: skip
# What gives a container more than it needs, and what it has otherwise.
_UNDECLARED = {
    "Privileged": False, "PidMode": "", "UTSMode": "", "UsernsMode": "", "IpcMode": "private", "Devices": [],
    "VolumesFrom": [], "Runtime": "runc", "CgroupParent": "", "GroupAdd": [],
}  # fmt: skip
