# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn instances into the plan's result: plain data, the inputs of the roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.devices import CDI_OPTIONS
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.egress import RUNTIME_OPTIONS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.host import (
    Host,
    directory_of,
    engine_of,
    warnings_about,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_result import hub_data, hub_summary
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import limits_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.own import own
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.parts import LOGIN
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import reset_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.smoke import smoke_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name, image_text, inside


def make_result(
    instances: Sequence[Lab | Hub], host: Host | None, base_dir: str, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the result. ONLY has the names to set up. Engines, sites and other parts of the host are for all."""
    chosen = [instance for instance in instances if only is None or instance.name in only]
    labs = [instance for instance in chosen if isinstance(instance, Lab)]
    hubs = [instance for instance in chosen if isinstance(instance, Hub)]
    return {
        "instances": [instance.name for instance in instances],
        "rootless_docker_engines": _engines(instances, host),
        # Instances that ONLY leaves out keep their engines and ports.
        "idle_engines": _idle_engines(instances, host) if only is None else [],
        "engine_ports": _engine_ports(instances, host, left=False),
        "engine_ports_after": _engine_ports(instances, host, left=only is None),
        "image_jobs": _image_jobs(chosen, host),
        "apache_vhosts": _vhosts(instances),
        "lab_instances": [_lab(lab, instances, host, base_dir) for lab in labs],
        "hub_instances": [{**_site(hub, host, base_dir), **hub_data(hub)} for hub in hubs],
        "reset_jobs": [_reset(instance, host, base_dir) for instance in chosen],
        "backup_jobs": [_backup(instance, host, base_dir) for instance in chosen],
        "summary": [_summary(instance, host) for instance in chosen],
        "warnings": warnings_about(instances, host),
    }


def _engines(instances: Sequence[Instance], host: Host | None) -> list[dict[str, Any]]:
    """Return the engines that must run, including those from which an instance must be removed."""
    recorded = host.engines if host else {}
    wanted = [engine_of(instance, host) for instance in instances if instance.wanted or instance.name in recorded]
    options: dict[str, dict[str, Any]] = {}
    for instance in (instance for instance in instances if instance.wanted):
        option = options.setdefault(engine_of(instance, host), {})
        daemon = {
            **(CDI_OPTIONS if instance.named_devices else {}),
            **(RUNTIME_OPTIONS if isinstance(instance, Lab) and instance.egress else {}),
        }
        if daemon:
            option["daemon_options"] = {**option.get("daemon_options", {}), **daemon}
        if instance.engine_disk:
            option["disk"] = max(instance.engine_disk, option.get("disk", 0))
    return [{"name": name, "state": "started", **options.get(name, {})} for name in dict.fromkeys(wanted)]


def _idle_engines(instances: Sequence[Instance], host: Host | None) -> list[dict[str, Any]]:
    """Return the engines that have no instances after the absent ones are removed."""
    names = {instance.name for instance in instances}
    # An instance that is not in the inventory keeps its engine running.
    used = {engine for name, engine in host.engines.items() if name not in names} if host else set()
    used.update(engine_of(instance, host) for instance in instances if instance.wanted)
    absent = dict.fromkeys(engine_of(instance, host) for instance in instances if not instance.wanted)
    return [
        {"name": name, "state": "stopped"}
        for name in absent
        if name not in used and (host is None or name in host.all_engines)
    ]


def _engine_ports(instances: Sequence[Lab | Hub], host: Host | None, left: bool) -> list[dict[str, Any]]:
    """Return the ports that only an engine's account may bind, including held instances and those not in the inventory.

    Until an instance is set up as declared, it uses the ports in its record. Afterwards it has LEFT them.
    """
    engines: dict[int, str] = {}
    for instance in instances:
        second_port = instance.second_port if isinstance(instance, Lab) else None
        for port in (instance.port, second_port) if instance.wanted else ():
            if port is not None:
                engines[port] = engine_of(instance, host)
    gone = {instance.name for instance in instances} if left else set()
    for owner, port in host.ports.items() if host else ():
        name = owner.split()[0]
        if host and name not in gone:
            engines.setdefault(port, host.engines[name])
    return [
        {"account": account, "ports": sorted(port for port, engine in engines.items() if engine == account)}
        for account in sorted(set(engines.values()))
    ]


def _images(instance: Lab | Hub) -> list[Any]:
    """Return each image once: references, and {declared: NAME}."""
    if isinstance(instance, Lab):
        return [instance.image] if instance.image else []
    images = [item["image"] for item in instance.images or []]
    return [image for index, image in enumerate(images) if image not in images[:index]]


def _image_jobs(instances: Sequence[Lab | Hub], host: Host | None) -> list[dict[str, Any]]:
    jobs: dict[str, list[str]] = {}
    for instance in instances:
        names = [declared_name(image) for image in _images(instance)] if instance.state == "present" else []
        for name in filter(None, names):
            job = jobs.setdefault(engine_of(instance, host), [])
            if name not in job:
                job.append(name)
    return [{"engine": engine, "images": names} for engine, names in jobs.items()]


def _vhosts(instances: Sequence[Instance]) -> list[dict[str, Any]]:
    vhosts: dict[tuple[str, int], dict[str, Any]] = {}
    for instance in instances:
        if not instance.wanted:
            continue
        key = (instance.url.host, instance.url.port)
        vhost = vhosts.setdefault(
            key,
            {
                "server_name": instance.url.host,
                "port": instance.url.port,
                "tls": {
                    "mode": instance.tls.mode,
                    "certificate": instance.tls.certificate,
                    "private_key": instance.tls.private_key,
                },
                "hsts_seconds": instance.hsts_seconds,
                "subdomain_paths": ["/user/", "/services/"] if _has_domains(instance) else [],
                "locations": [],
            },
        )
        vhost["locations"].append(
            {
                "path": instance.url.path,
                "backend": _backend(instance.port),
                "second": _second(instance) if isinstance(instance, Lab) else None,
                "instance": instance.name,
                "state": instance.state,
                "hold": f"/run/carrel/move/{instance.name}",
                "moved": _moved(instance),
                "websocket": instance.proxy["websocket"],
                "max_body_bytes": instance.proxy["max_body"],
                "timeout_seconds": instance.proxy["timeout_seconds"],
                "directives": instance.proxy["directives"],
            }
        )
    for vhost in vhosts.values():
        vhost["locations"].sort(key=lambda location: (-len(location["path"]), location["path"]))
    return [vhosts[key] for key in sorted(vhosts)]


def _has_domains(instance: Instance) -> bool:
    return isinstance(instance, Hub) and instance.user_domains


def _moved(instance: Instance) -> dict[str, Any] | None:
    if instance.moved_to is None or instance.state != "held":
        return None
    url = instance.url
    certificates = f"/etc/carrel/move/{instance.name}.pem" if url.scheme == "https" else None
    return {"backend": f"{url.scheme}://{instance.moved_to}:{url.port}", "certificates": certificates}


def _backend(port: int | None) -> str | None:
    return None if port is None else f"http://127.0.0.1:{port}"


def _second(lab: Lab) -> dict[str, Any]:
    return {"backend": _backend(lab.second_port), "file": f"/var/lib/carrel/{lab.name}/reset/second"}


def _site(instance: Lab | Hub, host: Host | None, base_dir: str) -> dict[str, Any]:
    """Return the declared keys, and what follows from them."""
    url = instance.url
    return {
        **{key: getattr(instance, key) for key, declared in instance.KEYS.items() if declared.handed},
        "engine": engine_of(instance, host),
        "directory": directory_of(instance, host, base_dir),
        "url": str(url) if url else None,
        "server_name": url.host if url else None,
        "public_port": url.port if url else None,
        "base_url": url.path if url else None,
        "login": instance.login or dict.fromkeys(LOGIN),
        "limits": {**instance.limits, "swap": instance.limits["swap"] or None},
        "moved_from": _recorded(instance, host).get("moved_from"),
        "own": own(instance) if instance.wanted else [],
        # The notebooks of an absent instance were not read.
        "smoke": instance.smoke if instance.wanted else [],
    }


def _lab(lab: Lab, instances: Sequence[Instance], host: Host | None, base_dir: str) -> dict[str, Any]:
    token_file = _token_file(lab, host, base_dir) if lab.wanted else _token_left(lab, instances, host, base_dir)
    return {
        **_site(lab, host, base_dir),
        "second_port": lab.second_port,
        "volumes": [volume._asdict() for volume in lab.volumes],
        "token_file": token_file,
    }


def _reset(instance: Lab | Hub, host: Host | None, base_dir: str) -> dict[str, Any]:
    site = _site(instance, host, base_dir)
    kept = ("name", "state", "engine", "directory", "url", "base_url", "start_timeout_seconds")
    ports = [instance.port, instance.second_port] if isinstance(instance, Lab) else [instance.port]
    return {
        **{key: site[key] for key in kept},
        **instance.reset,
        "kind": instance.kind,
        "ports": [] if None in ports else ports,
        "images": _images(instance),
        "smoke_seconds": instance.smoke_timeout_seconds if instance.smoke else 0,
        "notebooks": instance.notebooks if isinstance(instance, Lab) else instance.home,
        "token_file": _token_file(instance, host, base_dir) if isinstance(instance, Lab) else None,
    }


def _backup(instance: Lab | Hub, host: Host | None, base_dir: str) -> dict[str, Any]:
    site = _site(instance, host, base_dir)
    return {
        **{key: site[key] for key in ("name", "state", "engine", "directory")},
        "kind": instance.kind,
        "token_file": _token_file(instance, host, base_dir) if isinstance(instance, Lab) else None,
        "backup": instance.backup if instance.wanted and instance.moved_to is None else None,
        "last_backup": not instance.wanted and not _refuses_backups(instance),
    }


def _refuses_backups(instance: Instance) -> bool:
    return bool(instance.backup) and instance.backup.get("enabled") is False


def _token_file(lab: Lab, host: Host | None, base_dir: str) -> str:
    """Return where the lab's token is. A held lab gets a new token_file once it is present."""
    declared = lab.token_file or f"{directory_of(lab, host, base_dir)}/token"
    return declared if lab.state == "present" else _recorded(lab, host).get("token_file") or declared


def _token_left(lab: Lab, instances: Sequence[Instance], host: Host | None, base_dir: str) -> str | None:
    """Return the token file of an absent lab that is not archived with it. None if another lab has it by now."""
    path: str | None = _recorded(lab, host).get("token_file")
    others = [other for other in instances if other.wanted and isinstance(other, Lab)]
    if path is None or inside(path, directory_of(lab, host, base_dir)):
        return None
    return None if path in [_token_file(other, host, base_dir) for other in others] else path


def _recorded(instance: Instance, host: Host | None) -> Mapping[str, Any]:
    return host.records.get(instance.name, {}) if host else {}


def _summary(instance: Lab | Hub, host: Host | None) -> str:
    engine = engine_of(instance, host)
    if not instance.wanted:
        return f"{instance.name}: absent, engine {engine}"
    before, after = hub_summary(instance) if isinstance(instance, Hub) else _lab_summary(instance)
    port = f"port {instance.port or 'not known yet'}"
    mine = [f"your own {text}" for text in own(instance)]
    parts = [
        instance.state,
        str(instance.url),
        before,
        f"engine {engine}",
        port,
        reset_text(instance.reset),
        after,
        *([smoke_text(instance.smoke)] if instance.smoke else []),
        *mine,
    ]
    return f"{instance.name}: " + "; ".join(parts)


def _lab_summary(lab: Lab) -> tuple[str, str]:
    """Return the parts of the summary before and after the engine and the port."""
    what = f"image {image_text(lab.image)}" if lab.image else f"built from {lab.build['context']}"
    return what, f"limits {limits_text(lab.limits)}"
