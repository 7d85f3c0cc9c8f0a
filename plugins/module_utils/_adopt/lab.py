# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that somebody set up by hand, as a lab's entry in the inventory."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import address, options
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID

# Of Carto-Lab's .env and docker-stacks': what has a key of its own, or means nothing any more.
_OWN = {*values.LAB_ENVIRONMENT, "GENERATE_TOKEN", "JUPYTER_NOTEBOOKS", "JUPYTER_HOME", "CONDA_ENVS", "JUPYTER_PORT"}
_WORDS = ("JUPYTER_EXTRA_ARGS", "NOTEBOOK_ARGS")
_HOMES = ("/home/jovyan/work", "/home/jovyan")
_SHM = 64 << 20  # Docker's default
_JUPYTER = 8888  # the container's port, of jupyter_server and of docker-stacks
_SHORTEST = {"password": 8, "token": 16}
USER = "JUPYTERHUB_USER"  # a hub sets it for people's servers


class Refusal(Exception):
    """Why a container cannot be adopted, and what to do."""


@dataclass
class Found:
    """`entry` without secrets; `old` is what jupyter_adopted has of it."""

    entry: dict[str, Any]
    secrets: dict[str, Any]
    old: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    # of the web server and of cron: `path`, and whether it is `shared` with others
    files: list[dict[str, Any]] = field(default_factory=list)


def is_server(container: Mapping[str, Any]) -> bool:
    """Whether a container is one JupyterLab that people reach."""
    return bool(container["ports"]) and _is_lab(container)


def is_hidden(container: Mapping[str, Any]) -> bool:
    """Whether it looks like a JupyterLab that nobody reaches."""
    return not container["ports"] and _is_lab(container)


def _is_lab(container: Mapping[str, Any]) -> bool:
    return _looks(container, "jupyter") and not is_hub(container) and not is_persons(container)


def is_persons(container: Mapping[str, Any]) -> bool:
    """Whether a hub has started it for a user."""
    return USER in container["environment"]


def is_hub(container: Mapping[str, Any]) -> bool:
    """Whether it runs JupyterHub, by its command or by its image's name."""
    names = [word.rpartition("/")[2] for word in (*container["words"], container["image"])]
    return any(re.fullmatch(r"jupyterhub([:@].*)?", name) for name in names)


def _looks(container: Mapping[str, Any], word: str) -> bool:
    texts = [
        container["image"],
        *container["words"],
        *container["environment"],
        *container["image_environment"],
    ]
    return any(word in text.lower() for text in texts)


def describe(name: str, container: Mapping[str, Any], engine: Mapping[str, Any], host: Mapping[str, Any]) -> Found:
    """HOST is the survey. Raises Refusal."""
    notes: list[str] = []
    said = options.read(container["command"] or [])
    environment, words = _environment(container["environment"])
    said.token, said.root = words.token or said.token, words.root or said.root
    said.other_login = said.other_login or words.other_login
    published = port_of(container, host, _JUPYTER, "JupyterLab")
    where = address.find(container, published, said.base_url or words.base_url, host, notes)
    notes += _ranges(engine)
    ending = sorted({port["host"] for port in container["ports"]} - {published["host"]})
    if ending:
        notes.append(f"its other ports on the host end: {', '.join(map(str, ending))}")
    root = _notebooks(container, said.root)
    if root["target"].rstrip("/") not in (*_HOMES, (said.root or "").rstrip("/")):
        notes.append(
            f"its notebooks are taken to be in {root['target']}; what lies elsewhere in the container ends with it"
        )
    entry: dict[str, Any] = {
        "name": name, "url": where.url, **({"engine": engine["account"]} if name != engine["account"] else {}),
        "image": usable(container["image"]), "tls": where.tls, "notebooks": root["target"],
        "owner": _owner(root, engine),
    }  # fmt: skip
    if where.port is not None:
        entry["port"] = where.port
    if not container["running"] or engine["on_hold"]:
        entry["state"] = "held"
        notes.append("it is stopped, so it is declared with state: held; write present to start it")
    volumes = _volumes(container, root, notes)
    if volumes:
        entry["volumes"] = volumes
    entry.update(_keys(container, notes))
    # Its engine may call anybody's folder its own.
    places = (one["directory"] for one in engine["containers"])
    own = {engine["account"], *(place for place in places if place and place.startswith(f"{engine['home']}/"))}
    jobs = [
        {**job, "shared": job["shared"] or not own >= {*job["projects"]}}
        for job in host["cron"]
        if {engine["account"], container["directory"]} & set(job["projects"])
    ]
    if jobs:
        entry["reset"] = _reset(jobs, entry["image"], notes)
    secrets = _secrets(container["environment"], said, notes)
    if environment:
        secrets["environment"] = environment
    if said.kept:
        secrets["command"] = said.kept
        notes.append(
            "its command is in the secrets' file, because it may have a token or a password: give those to the keys "
            "token and password (the playbook plan and compose.yaml show a command)"
        )
    old = {
        "name": name, "notebooks": root["source"], "port": published["host"], "container": container["name"],
        "running": container["running"],
        "stays": [*filter(None, [container["directory"]]), *(volume["source"] for volume in volumes)],
    }  # fmt: skip
    return Found(entry, secrets, old, notes, [*where.sites, *jobs])


def port_of(container: Mapping[str, Any], host: Mapping[str, Any], usual: int, what: str) -> Mapping[str, Any]:
    """That of WHAT: a container may publish others, and the same one on several addresses. Raises Refusal."""
    ports: dict[int, Mapping[str, Any]] = {}
    for port in container["ports"]:
        if port["host"] not in ports or port["address"] not in address.LOOPBACK:
            ports[port["host"]] = port
    proxied = {port for site in host["sites"] for port in site["backends"]}
    found = [*ports.values()]
    for chosen in (
        [port for port in found if port["host"] in proxied],
        [port for port in found if port["container"] == usual],
    ):
        found = [port for port in found if port in chosen] or found
    if len(found) > 1:
        raise Refusal(
            f"which of its ports {', '.join(str(port['host']) for port in found)} on the host is {what}'s cannot "
            "be told: publish that one alone, start it again, and adopt again"
        )
    return found[0]


def _ranges(engine: Mapping[str, Any]) -> Iterator[str]:
    files = [f"/etc/{kind}" for kind in ("subuid", "subgid") if engine["ranges"][kind] > 1]
    if files:
        yield (
            f"the site playbook refuses {engine['account']}, which has several ranges in {' and '.join(files)}: leave "
            "its first line alone there if no file belongs to ids of the others, else copy the files into a new lab"
        )


def _environment(found: Mapping[str, str]) -> tuple[dict[str, str], options.Options]:
    kept, all_words = {}, options.Options()
    for key, text in found.items():
        if key in _WORDS:
            try:
                words = options.read(shlex.split(text))
            except ValueError:  # a quote without its end
                words = options.Options(kept=[text])
            all_words.token, all_words.root = words.token or all_words.token, words.root or all_words.root
            all_words.base_url = words.base_url or all_words.base_url
            all_words.other_login = all_words.other_login or words.other_login
            text = shlex.join(words.kept)
        if key not in _OWN and text and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            kept[key] = text
    return kept, all_words


def _secrets(environment: Mapping[str, str], said: options.Options, notes: list[str]) -> dict[str, Any]:
    given = {"password": environment.get("JUPYTER_PASSWORD"), "token": environment.get("JUPYTER_TOKEN") or said.token}
    secrets = {}
    for key, text in given.items():
        if not text:
            continue
        if values.secret(text, key, Problems()) is INVALID or len(text) < _SHORTEST[key]:
            notes.append(
                f"its {key} has spaces around it or fewer than {_SHORTEST[key]} characters, which is refused here: "
                f"write a new {key} into the secrets' file"
            )
        else:
            secrets[key] = text
    if said.other_login:
        notes.append(
            "its command has a password's hash or another way to log in: write the password into the secrets' file"
        )
    if not secrets:
        notes.append(
            "without a password or a token in the secrets' file it gets a token of its own, in /srv/NAME/token on the "
            "host"
        )
    if environment.get("GENERATE_TOKEN") == "true":
        notes.append("it made a token of its own at each start, which ends: programs need a fixed one, the key token")
    return secrets


def _notebooks(container: Mapping[str, Any], root: str | None) -> Mapping[str, Any]:
    mounts: list[Mapping[str, Any]] = [
        mount
        for mount in container["mounts"]
        if mount["kind"] == "folder" and mount["source"] and not mount["read_only"]
    ]
    for target in [root] if root else _HOMES:
        for mount in mounts:
            if mount["target"].rstrip("/") == target.rstrip("/"):
                return mount
    # Not ~/.cache and the like: then the notebooks are in the container.
    below = [
        mount for mount in mounts if mount["target"].startswith(("/home/", "/root/")) and "/." not in mount["target"]
    ]
    if root or len(below) != 1:
        place = root or " or ".join(_HOMES)
        for mount in container["mounts"]:
            if mount["source"] and mount["target"].rstrip("/") in ([root.rstrip("/")] if root else _HOMES):
                raise Refusal(_unusable(mount))
        raise Refusal(
            f"no folder of the host is mounted at {place}, so its notebooks end with it: copy them out with `docker "
            f"cp`, mount that folder at {place} in the compose file, start it again, and adopt again"
        )
    return below[0]


def _unusable(mount: Mapping[str, Any]) -> str:
    where = f"{mount['source']}, mounted at {mount['target']},"
    if mount["name"] and mount["kind"] == "other":
        return (
            f"{where} is the volume {mount['name']} with another driver or options, which only its engine sees: mount "
            "its folder itself in the compose file, start it again, and adopt again"
        )
    if mount["kind"] == "folder":
        return f"{where} is read-only, and a lab's notebooks are not: mount it without :ro, or declare a new lab"
    return (
        f"{where} is no folder, or lies below a link, which nothing here follows: write the folder's real path "
        "(`realpath`) into the compose file, start it again, and adopt again"
    )


def _owner(mount: Mapping[str, Any], engine: Mapping[str, Any]) -> str:
    ids = []
    for kind, own in (("uid", engine["uid"]), ("gid", engine["gid"])):
        number, span = mount[kind], engine[f"sub{kind}"]
        if number == own:
            ids.append(0)
        elif span and span["start"] <= number < span["start"] + span["count"]:
            ids.append(number - span["start"] + 1)
        else:
            raise Refusal(
                f"{mount['source']} belongs to {mount['uid']}:{mount['gid']}, which no container of "
                f"{engine['account']} has: `chown` it to the account or to the ids that its files have, and adopt again"
            )
    return f"{ids[0]}:{ids[1]}"


def usable(image: str) -> str:
    """The image's name. Raises Refusal."""
    if image.startswith("sha256:") or values.image(image, "image", Problems()) is INVALID:
        raise Refusal(
            "its image has no name: give it one with `docker tag`, push it, and write the name into the compose file"
        )
    return image


def _volumes(container: Mapping[str, Any], root: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    kept = []
    for mount in container["mounts"]:
        source, target = mount["source"], mount["target"]
        if mount is root:
            continue
        if mount["kind"] == "folder" and values.volume_source(source, "source", Problems()) is not INVALID:
            volume = {"source": source, "target": target}
            kept.append({**volume, "read_only": True} if mount["read_only"] else volume)
        elif target.endswith("/login.html"):
            notes.append(
                f"the log-in page {source} stays behind{', and is empty' if mount['empty'] else ''}: write a notice, "
                "login: {notice: TEXT}, or copy it to the control node, login: {template: FILE}"
            )
        else:
            notes.append(
                f"{source or mount['name']}, mounted at {target}, is no folder that can be mounted here: it stays "
                "behind"
            )
    return kept


def _keys(container: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    environment = container["environment"]
    idle = environment.get("JUPYTER_AUTOSHUTDOWN_TIMEOUT", "")
    if idle.isascii() and idle.isdigit() and int(idle):
        keys["idle_shutdown_seconds"] = int(idle)
    if environment.get("COLLABORATIVE"):
        keys["collaboration"] = environment["COLLABORATIVE"].lower() not in ("false", "0")
    if container["user"] and values.id_pair(container["user"], "user", Problems()) is not INVALID:
        keys["user"] = container["user"]
    elif container["user"]:
        notes.append(f"it ran as the user {container['user']}: write user with both ids if the image needs it")
    for key, size in (("memory", container["memory"]), ("shm_size", container["shm_size"])):
        if size and not (key == "shm_size" and size == _SHM):
            keys[key] = f"{size >> 20}M"
    if container["cpus"]:
        keys["cpus"] = container["cpus"]
    if container["pids"] and container["pids"] > 0:
        keys["pids"] = container["pids"]
    if container["entrypoint"]:
        notes.append("its entrypoint is another than the image's: build an image with it")
    if container["privileged"]:
        notes.append(f"it has rights that containers here do not get: {', '.join(container['privileged'])}")
    return keys


def _reset(jobs: Sequence[Mapping[str, Any]], image: str, notes: list[str]) -> dict[str, Any]:
    paths = ", ".join(dict.fromkeys(job["path"] for job in jobs))
    pull = any(job["pull"] for job in jobs)
    if pull and not values.has_tag_or_digest(image):
        pull = False
        notes.append(f"{paths} pulls the image; write a tag into image, then reset.pull: true")
    times = [*dict.fromkeys(job["at"] for job in jobs if job["at"])]
    if len(times) > 1:
        notes.append(f"{paths} runs at {', '.join(times)}: a reset has one time, reset.at")
    if not times:
        notes.append(f"when {paths} runs cannot be read: write reset.at")
        return {"pull": pull}
    return {"at": times[0], "pull": pull}


def others(containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is known of containers that are no servers."""
    return [
        f"the container {container['name']} ({container['image']}) "
        f"{'publishes no port' if is_hidden(container) else 'is no JupyterLab'} and ends with the old engine"
        for container in containers
    ]
