# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether the images for users fit the hub and each other, and whether their JupyterLab accepts the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.shorten import some
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.domains import service_url

# The major version of JupyterHub in roles/hub/files/image/requirements.txt.
JUPYTERHUB = 6
LAB_PACKAGES = "jupyterlab jupyterhub jupyter-collaboration"
MENUS = "@jupyterlab/mainmenu-extension:plugin"


def problems(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return everything that is wrong with the images. `images` are the results of lab_image_info, in order."""
    names = [entry["image"] for entry in instance["images"]]
    found = [problem for name, image in zip(names, images) for problem in _singleuser(name, image, instance["command"])]
    if instance["owner"] is None:
        ids = {name: f"{image['uid']}:{image['gid']}" for name, image in zip(names, images)}
        if len(set(ids.values())) > 1:
            each = ", ".join(f"{name} as {owner}" for name, owner in ids.items())
            found.append(
                f"the images run as different ids ({each}), but a user's files have one owner: take images that run as "
                "the same, or say with owner whose the files are"
            )
    if instance["settings"]:
        found += settings_problems(instance, names, images)
    return found


def warnings(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which images do not let members work together in the server of their group."""
    groups = [user["server_of"] for user in instance["users"] if user["server_of"]]
    named = f"the group{'s' if len(groups) > 1 else ''} {some(groups, 5)}"
    return [
        f"{instance['name']}: in the server of {named}, people overwrite each other's changes, because"
        f" the image {entry['image']} has no jupyter-collaboration: install it for {image['python']};"
        f" the collection's lab image has it with image_lab_build_args: {{SERVER_PACKAGES: {LAB_PACKAGES}}}"
        for entry, image in zip(instance["images"], images)
        if groups and not image["servers"][0]["collaboration"]
    ]


def _singleuser(name: str, image: Mapping[str, Any], command: Sequence[str]) -> Iterator[str]:
    install = f'install it there: pip install "jupyterhub=={JUPYTERHUB}.*"'
    version = image["servers"][0]["jupyterhub"]
    if version is None:
        yield f"the image {name} has no jupyterhub for {image['python']}, and a hub cannot start its server; {install}"
    elif int(version.split(".")[0]) != JUPYTERHUB:
        yield f"the image {name} has jupyterhub {version}, and the hub is of version {JUPYTERHUB}; {install}"
    elif command[0] == "jupyterhub-singleuser" and not image["singleuser"]:
        yield (
            f"the image {name} has jupyterhub for {image['python']}, but no jupyterhub-singleuser on its PATH: add "
            "that environment to the PATH, or give the hub's command with its full path"
        )


def settings_problems(
    instance: Mapping[str, Any], names: Sequence[str], images: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    first = images[0]["jupyterlab"]
    for name, image in zip(names[1:], images[1:]):
        for key, what in (("settings", "read their settings from"), ("overrides", "have")):
            if image["jupyterlab"][key] != first[key]:
                yield (
                    f"settings are one file for all images, but {names[0]} and {name} {what} "
                    f"different {'directories' if key == 'settings' else 'overrides.json of their own'}: "
                    "leave the settings out, or take images of one kind"
                )
    for name, image in zip(names, images):
        plugins = image["jupyterlab"]["plugins"]
        for plugin, settings in instance["settings"].items():
            if plugin not in plugins:
                yield f"settings: the image {name} has no plugin {plugin!r}{_hint(plugin, plugins)}"
            elif plugins[plugin] is not None:
                for key in sorted(set(settings) - set(plugins[plugin])):
                    hint = _hint(key, plugins[plugin])
                    yield f"settings: {plugin} in the image {name} has no setting {key!r}{hint}"


def _hint(word: str, known: Sequence[str]) -> str:
    near = nearest(word, known)
    return f": did you mean {near!r}?" if near else ""


def overrides(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return overrides.json for users' containers. None if the images' own file needs no change.

    With backups, JupyterLab's menu File gets a link to the page Backups.
    """
    settings = dict(instance["settings"])
    if instance["backups"] and _take_a_menu(images) and "menus" not in settings.get(MENUS, {}):
        link = {
            "text": "Backups of Your Home",
            "url": service_url(instance["url"], "backups", instance["user_domains"]),
            "newBrowserTab": True,
        }
        item = {"command": "help:open", "args": link, "rank": 98}
        settings[MENUS] = {**settings.get(MENUS, {}), "menus": [{"id": "jp-mainmenu-file", "items": [item]}]}
    return merged_settings({"settings": settings}, images) if settings else None


def _take_a_menu(images: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one overrides.json fits all images, and their JupyterLab has the menu."""
    first = images[0]["jupyterlab"]
    return first is not None and all(
        image["jupyterlab"] is not None
        and MENUS in image["jupyterlab"]["plugins"]
        and all(image["jupyterlab"][key] == first[key] for key in ("settings", "overrides"))
        for image in images
    )


def merged_settings(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return overrides.json: the image's own settings, overridden by the instance's."""
    own = images[0]["jupyterlab"]["overrides"]
    return {**own, **{plugin: {**own.get(plugin, {}), **keys} for plugin, keys in instance["settings"].items()}}
