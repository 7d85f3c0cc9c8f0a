# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what follows from the declarations of the inventory's keys, or with --check say what of it is stale.

That is docs/reference/inventory.md, what the roles lab and hub say about the instances that the plan hands them, and
what the role image says about an image.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LAB

from . import inventory_page
from .run import ROOT

# In the plan's result, besides keys that are handed on as they are declared, or in another form than they are.
_SITE: dict[str, dict[str, Any]] = {
    "engine": {"description": "Name of its engine.", "type": "str", "required": True},
    "directory": {"description": "Its directory on the host.", "type": "str", "required": True},
    "url": {"description": "Its public URL, with the final slash; unset if it is absent without one.", "type": "str"},
    "server_name": {"description": "The URL's host name.", "type": "str"},
    "public_port": {"description": "The URL's port.", "type": "int"},
    "base_url": {"description": "The URL's path.", "type": "str"},
    "port": {"description": "Port on 127.0.0.1; unset when planned without facts and not given.", "type": "int"},
    "login": {
        "description": "C(notice), C(notice_html) or C(template), the text of a page; the others are unset.",
        "type": "dict",
    },
    "limits": {
        "description": "Limits of a container, each unset for none; sizes are bytes. Of a hub, for who is not listed.",
        "type": "dict",
    },
    "moved_from": {"description": "The host from which it was moved here; unset if it was not.", "type": "str"},
    "own": {
        "description": "What of it is the administrator's own, such as server_settings, in words.",
        "type": "list",
        "elements": "str",
    },
    "smoke": {
        "description": "Notebooks that run in new servers, each with C(name), C(kernel) (unset for the usual one) and "
        "C(cells), each with C(number), C(source) and whether it C(raises) an exception; of a hub also with C(images), "
        "the numbers of its images in which it runs.",
        "type": "list",
        "elements": "dict",
    },
}
_LAB: dict[str, dict[str, Any]] = {
    "second_port": {"description": "Port of the server that takes over during a reset.", "type": "int"},
    "image": {"description": "The image; unset where one is built.", "type": "str"},
}
_HUB: dict[str, dict[str, Any]] = {
    "client_secret": {"description": "Secret at the identity provider.", "type": "str", "no_log": True},
    "dummy_password": {"description": "Password of the authenticator dummy.", "type": "str", "no_log": True},
    "authenticator_secrets": {"description": "Traits that are secrets, by name.", "type": "dict", "no_log": True},
    "provider_groups": {"description": "Names at the identity provider, by the group here.", "type": "dict"},
    "group_egress": {"description": "C(egress) of groups that have their own, by group.", "type": "dict"},
    "backups": {
        "description": "Whether people get the page on which they bring back files from backups of their homes.",
        "type": "bool",
    },
    "extra_config": {
        "description": "Files of Python that add to the hub's configuration, each with C(name) and C(text).",
        "type": "list",
        "elements": "dict",
    },
    "authenticator": {"description": "How people log in; all but the secrets.", "type": "dict"},
    "users": {
        "description": "Users, each with C(name), C(identity) as the authenticator has it, C(admin), C(password), "
        "C(server_of), the group whose server it has, and "
        "the limits that count: the user's own, else the widest of the groups', else the hub's.",
        "type": "list",
        "elements": "dict",
        "no_log": True,
    },
    "held_users": {
        "description": "Users who may not log in, and whose folders stay where they are, each with C(name) and "
        "C(identity).",
        "type": "list",
        "elements": "dict",
    },
    "blocked_identities": {
        "description": "Users who may not log in, as the authenticator has their names.",
        "type": "list",
        "elements": "str",
    },
    "groups": {
        "description": "Groups, each with C(name), C(members), C(admins) and C(mounts), which are unset for a folder "
        "of the group's own.",
        "type": "list",
        "elements": "dict",
    },
}
_BEGIN, _END = "# What follows is written by make docs.", "# Up to here."


def _option(key: Key) -> dict[str, Any]:
    """An option of argument_specs."""
    given = key.default is not None
    unset = f" Unset: {key.unset}." if key.unset and not given else ""
    option: dict[str, Any] = {"description": key.says + unset, "type": key.type.argument}
    if key.type.elements:
        option["elements"] = key.type.elements
    if key.type.choices:
        option["choices"] = list(key.type.choices)
    if key.secret:
        option["no_log"] = True
    return option


def options(keys: Mapping[str, Key], derived: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a role says about each instance that the plan hands it; every key is always there."""
    handed = {name: _option(key) for name, key in keys.items() if key.handed}
    found = {name: dict(option) for name, option in {**handed, **_SITE, **derived}.items()}
    for name in ("name", "state"):
        found[name]["required"] = True
    return found


def _lines(options: Mapping[str, Mapping[str, Any]]) -> str:
    """An option a line where that is short enough, as people write them."""
    text = ""
    for name, option in options.items():
        line = f"{name}: {yaml.safe_dump(dict(option), default_flow_style=True, sort_keys=False, width=1000)}"
        parts = (
            yaml.safe_dump({key: item}, default_flow_style=None if key == "choices" else False, width=110)
            for key, item in option.items()
        )
        text += line if len(line) <= 120 else f"{name}:\n{textwrap.indent(''.join(parts), '  ')}"
    return text


def image_options() -> dict[str, dict[str, Any]]:
    """What the role image says about an image, as people write it."""
    found = {name: _option(key) for name, key in IMAGE.items()}
    found["name"]["required"] = True
    found["smoke"]["description"] += " The playbook site runs them, not this role."
    return found


def argument_specs(role: str, options: Mapping[str, Mapping[str, Any]]) -> tuple[Path, str]:
    """The role's argument_specs with the part that is written here."""
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    block = re.compile(rf"^( +){re.escape(_BEGIN)}\n.*?^ +{re.escape(_END)}\n", re.DOTALL | re.MULTILINE)
    text = path.read_text(encoding="utf-8")
    found = block.search(text)
    assert found, f"{path} has no place for what is written by make docs"
    lines = [_BEGIN, *_lines(options).splitlines(), _END]
    return path, text[: found.start()] + "".join(f"{found[1]}{line}\n" for line in lines) + text[found.end() :]


def files() -> dict[Path, str]:
    """All that is written, by path."""
    inventory = ROOT / "docs" / "reference" / "inventory.md", inventory_page.page()
    labs, hubs = argument_specs("lab", options(LAB, _LAB)), argument_specs("hub", options(HUB, _HUB))
    return dict([inventory, labs, hubs, argument_specs("image", image_options())])


def stale() -> list[Path]:
    found = files().items()
    return [path for path, text in found if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> None:
    paths = stale()
    if "--check" in sys.argv[1:]:
        sys.exit("".join(f"{path.relative_to(ROOT)} is stale: run make docs\n" for path in paths).strip() or 0)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
