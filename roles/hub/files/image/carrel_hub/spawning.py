# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what a user's container gets, and what the user reads if this is not possible. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape as escape_html
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import effective_mounts
from jupyterhub.spawner import SpawnException

NO_DIRECTORY = (
    "One of your directories is missing on this server, so your notebook server was not started. "
    "None of your files are touched. Please tell the administrator."
)
NO_NAME = (
    "No directory can be made for your name here, so your notebook server was not started. "
    "Please tell the administrator."
)
NO_IMAGE = (
    "The software that you chose is not installed on this server at the moment. Please choose another one if you can, "
    "or tell the administrator."
)
NO_NETWORK = (
    "There is no network left for your notebook server, so it was not started. None of your files are touched. "
    "Please tell the administrator."
)
NO_MOUNTS = (
    "The list of your directories cannot be read at the moment, so your notebook server was not started. "
    "None of your files are touched. Please tell the administrator."
)
ENDED = (
    "Your notebook server ended while it was starting. None of your files are touched. Please try again, and tell the "
    "administrator if that does not help."
)
TOO_SLOW = (
    "Your notebook server did not answer in time, so its start was given up. Others may be starting at the same time. "
    "None of your files are touched. Please try again in a minute, and tell the administrator if that does not help."
)
STILL_THERE = (
    "Your last notebook server has not been removed yet. Please try again in a minute, and tell the administrator if "
    "that does not help."
)
NO_DEVICE = (
    "A device that your notebook server needs is missing on this server, so it was not started. "
    "None of your files are touched. Please tell the administrator."
)
GPUS = "carrel.gpus"  # a container's label: its own graphics cards, with commas between them
_SIGNS = {
    # Docker's messages for a device that no CDI file has, and for CDI that is off
    "cdi device injection failed": NO_DEVICE,
    'could not select device driver "cdi"': NO_DEVICE,
    # Docker's messages for a missing or forbidden source of a bind mount, when creating and when starting
    "bind source path does not exist": NO_DIRECTORY,
    "bind mount source path": NO_DIRECTORY,
    "error while creating mount source path": NO_DIRECTORY,
    "error mounting": NO_DIRECTORY,
    "no such image": NO_IMAGE,
    "is already in use by container": STILL_THERE,
    # about a user's network that is still in use, or that was made at the same time
    "network with name": STILL_THERE,
    "has active endpoints": STILL_THERE,
    # if a container ends at once, it is gone when its address is read
    "no such container": ENDED,
}


class SpawnRefused(Exception):
    """An error for the user. JupyterHub shows these two attributes on its page."""

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.jupyterhub_message = message
        self.jupyterhub_html_message = f"<p>{escape_html(message)}</p>"


class SpawnDeclined(SpawnRefused, SpawnException):  # type: ignore[misc]
    """A refusal without a fault of the hub. JupyterHub counts it as a failure with this REASON, and not as an error."""

    def __init__(self, message: str, reason: str, status_code: int) -> None:
        super().__init__(message, reason=reason, status_code=status_code)


def explain(error: str) -> str | None:
    """Return the text for the user about one of Docker's errors, or None. It never contains paths of the host."""
    lower = error.lower()
    return next((text for sign, text in _SIGNS.items() if sign in lower), None)


def mounts(config: Mapping[str, Any], mounts_file: str, user: str, groups: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return all entries of DockerSpawner.mounts. GROUPS are memberships besides the file's. Raises MountsError."""
    everyone = [{"type": "bind", **mount} for mount in config["mounts"]]
    prefix = f"{config['name']}_{escape(user)}_"
    volumes = [
        {
            "type": "volume",
            "source": prefix + volume["name"],
            "target": volume["target"],
            "read_only": False,
            "no_copy": True,
        }
        for volume in config["volumes"]
    ]
    own = [mount.docker() for mount in effective_mounts(mounts_file, user, groups)]
    # Parents come first, because a mount hides earlier mounts below it.
    return sorted([*everyone, *volumes, *own], key=lambda mount: str(mount["target"]))


def free_gpus(gpus: Iterable[str], containers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hub's graphics cards that none of its CONTAINERS has. CONTAINERS is Docker's list."""
    taken = {name for container in containers for name in (container["Labels"] or {}).get(GPUS, "").split(",")}
    return [name for name in gpus if name not in taken]


def staying(containers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return containers that have not ended. Docker removes those that have, but lists them until then."""
    return [container for container in containers if container["State"] not in ("exited", "removing", "dead")]


def no_gpus(wanted: int, free: int) -> str:
    """Return the text for the user."""
    cards = "a graphics card" if wanted == 1 else f"{wanted} graphics cards"
    return (
        f"Your notebook server needs {cards}, and {free or 'none'} of this hub's {'is' if free == 1 else 'are'} free. "
        "Please try again when somebody has stopped a server."
    )


def device_requests(names: list[str]) -> list[dict[str, Any]]:
    """Return Docker's host configuration for devices by CDI names. Docker requires a capability, and ignores it."""
    return [{"driver": "cdi", "device_ids": names, "capabilities": [["gpu"]]}] if names else []
