# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a survey of a host finds: Carto-Lab Docker as its own playbooks set it up."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption, adopt
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from plan_helpers import plan

PASSWORD = "a pass{{word}} of Tao's"
SITE = {
    "path": "/etc/apache2/sites-enabled/tao.conf", "names": ["tao.example.org"], "port": 443, "tls": True,
    "addresses": [], "limits": [], "unread": [], "unresolved": [], "elsewhere": False, "shared": False,
    "certificate": "/etc/ssl/tao.pem", "private_key": "/etc/ssl/tao.key", "backends": [9288],
}  # fmt: skip
JOB = {"path": "/etc/cron.daily/reset_jupyter_tao", "at": "daily", "pull": False, "projects": ["tao"], "shared": False}


def mount(source: str, target: str, kind: str = "folder", **more: Any) -> dict[str, Any]:
    """As the survey has it, of the account itself."""
    found = {"name": "", "source": source, "target": target, "read_only": False, "kind": kind, "uid": 1001, "gid": 1002}
    return {**found, "empty": False, **more}


STARTED = 1_700_000_000.0  # 2023-11-14 22:13 UTC
NOTEBOOKS = mount("/srv/tao/notebooks", "/home/jovyan/work")
ENVS = mount("/srv/tao/envs", "/envs")


def container(**more: Any) -> dict[str, Any]:
    """Carto-Lab Docker as its own playbooks set it up."""
    return {
        "name": "lbsn-jupyterlab", "image": "quay.io/ioer-fdz/carto-lab-docker:v1.1.0",
        "running": True, "started": STARTED, "environment": {
            "JUPYTER_PASSWORD": PASSWORD, "JUPYTER_WEBURL": "https://tao.example.org", "COLLABORATIVE": "true",
            "GENERATE_TOKEN": "true", "JUPYTER_AUTOSHUTDOWN_TIMEOUT": "0", "POSTGRES_PASSWORD": "eX4mP13",
            "JUPYTER_EXTRA_ARGS": "--ServerApp.allow_origin='https://tao.example.org'", "DISABLE_JUPYTEXT": "",
        }, "image_environment": ["PATH", "JUPYTER_CONFIG"],
        "words": ["tini"],
        "command": None, "entrypoint": False, "user": "", "project": "jupyterlab", "directory": "/srv/tao/jupyterlab",
        "ports": [{"container": 8888, "address": "127.0.0.1", "host": 9288}], "mounts": [NOTEBOOKS, ENVS],
        "memory": 0, "shm_size": 64 << 20, "cpus": None, "pids": None, "privileged": [], **more,
    }  # fmt: skip


BCRYPT = "$2b$12$" + "a" * 53
VOLUMES = "/var/lib/docker/volumes"


def account(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "hash": BCRYPT, "authorized": True, "second_factor": False, **more}


def database(users: dict[str, bool], *accounts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is known of a hub's people: whether each user is an admin, and the passwords."""
    path, listed = f"{VOLUMES}/jupyterhub-data/_data/jupyterhub.sqlite", [*users.items()]
    known = [{"name": name, "admin": admin} for name, admin in listed]
    found = {"path": path, "others": [], "written": STARTED + 60, "problem": None, "users": known}
    return {**found, "accounts": [*accounts], **more}


def old_hub(*accounts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The hub of jupyterhub-deploy-docker, with the people prof and ada@uni."""
    found = accounts or (account("ada@uni"), account("prof"))
    return {
        **container(),
        "name": "jupyterhub", "image": "jupyterhub",
        "words": ["jupyterhub", "-f", "/srv/jupyterhub/jupyterhub_config.py"],
        "environment": {
            "JUPYTERHUB_ADMIN": "prof", "DOCKER_NETWORK_NAME": "jupyterhub-network",
            "DOCKER_NOTEBOOK_IMAGE": "quay.io/jupyter/base-notebook:latest", "DOCKER_NOTEBOOK_DIR": "/home/jovyan/work",
        },
        "ports": [{"container": 8000, "address": "0.0.0.0", "host": 8000}],
        "mounts": [
            mount("/root/hub/jupyterhub_config.py", "/srv/jupyterhub/jupyterhub_config.py", "file"),
            mount(f"{VOLUMES}/jupyterhub-data/_data", "/data", name="jupyterhub-data"),
        ],
        "database": database({"prof": True, "ada@uni": False}, *found), **more,
    }  # fmt: skip


def volume(user: str) -> dict[str, str]:
    """A user's volume by its escaped name."""
    return {"name": f"jupyterhub-user-{user}", "source": f"{VOLUMES}/jupyterhub-user-{user}/_data"}


def rootful(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Docker as root."""
    nobody = dict.fromkeys(("account", "home", "unit", "subuid", "subgid", "ranges"))
    mine = {"uid": 0, "gid": 0, "volumes": [volume("prof"), volume("ada-40uni")]}
    return {**engine(*containers), **nobody, **mine, **more}


def engine(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    ids = {"start": 165536, "count": 65536}
    return {
        "account": "tao", "uid": 1001, "gid": 1002, "home": "/srv/tao", "unit": "docker.service", "on_hold": False,
        "subuid": ids, "subgid": ids, "ranges": {"subuid": 1, "subgid": 1},
        "containers": list(containers or [container()]), "volumes": [], "problem": None, **more,
    }  # fmt: skip


def survey(*engines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "hostname": "lab1.example.org", "base_dir": "/srv", "folders": ["base", "tao"], "instances": [],
        "sites": [SITE], "cron": [JOB], "starters": [],
        "engines": list(engines or [engine()]), "stopped": [], **more,
    }  # fmt: skip


def planned(adoption: Adoption) -> list[dict[str, Any]]:
    """The entries with their secrets, once the plan has taken them."""
    entries = [{**entry, **adoption.secrets.get(entry["name"], {})} for entry in adoption.instances]
    for entry in entries:
        hashes = entry.pop("password_hashes", {})
        for person in entry.get("users", []):
            if "password" in person:
                person["password"] = hashes[escape(person["name"])]
    result, problems = plan(entries)
    assert not problems and result
    return entries


def one(**more: Any) -> tuple[dict[str, Any], list[str]]:
    """The entry of a container and its notes."""
    adoption = adopt(survey(engine(container(**more))))
    (entry,) = planned(adoption)
    return entry, adoption.notes["tao-lab"]


def refused(*engines: dict[str, Any], **more: Any) -> str:
    adoption = adopt(survey(*engines, **more))
    assert not adoption.instances and not adoption.secrets and not adoption.takeovers
    return "\n".join(adoption.left)
