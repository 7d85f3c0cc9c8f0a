# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of keys whose values are not mappings."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import schema, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import read_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import read_address, read_url

DAY = 24 * 60 * 60

NAME = Type(read_name, "a name: 1 to 31 of a-z, 0-9 and '-'", "Geo Lab")
ADDRESS = Type(read_address, "a host name or an IPv4 address", "lab example")
URL = Type(read_url, "an address", "lab.example.org")
BOOLEAN = Type(schema.boolean, "true or false", "yes", "bool")
SECRET = Type(values.secret, "text", 12345678)
IMAGE = Type(values.image, "an image reference", "Lab:1.0")
IDS = Type(values.id_pair, "uid:gid", 1000)
CONTAINER_PATH = Type(values.container_path, "a folder in the container", "work", "path")
HOST_PATH = Type(values.host_path, "a path on the host", "maps", "path")
HOST_FOLDER = Type(values.volume_source, "a folder of the host", "/etc", "path")
TOKEN_FILE = Type(values.token_file, "a path on the host", "/tmp/token", "path")  # noqa: S108 - refused
DEVICES = Type(values.devices, "a list of CDI names", ["/dev/nvidia0"], "list", "str")
NETWORKS = Type(
    schema.listing(values.network, "a list of networks, for example [192.0.2.0/24]"),
    "a list of IPv4 networks and addresses", ["pypi.org"], "list", "str",
)  # fmt: skip
WORDS = Type(
    schema.listing(schema.text("text in quotes"), "a list of words, for example [start-notebook.py]"),
    "a list of words", "start-notebook.py", "list", "str",
)  # fmt: skip
NOTEBOOKS = Type(
    schema.listing(
        schema.text("the path of a notebook"), "a list of notebooks, for example [files/notebooks/check.ipynb]"
    ),
    "a list of paths", "files/notebooks/check.ipynb", "list", "str",
)  # fmt: skip


def text(wanted: str, multiline: bool = False) -> Type:
    return Type(schema.text(wanted, multiline), "text", [])


def choice(*options: str) -> Type:
    return Type(schema.choice(*options), ", ".join(options[:-1]) + " or " + options[-1], "other", choices=options)


def whole(low: int, high: int) -> Type:
    return Type(schema.whole(low, high), f"a whole number from {low} to {high}", high + 1, "int")


def number(low: float, high: float) -> Type:
    return Type(schema.number(low, high), f"a number from {low:g} to {high:g}", "two", "float")


def size(low: int, high: int, low_text: str, high_text: str, zero: bool = False) -> Type:
    read = values.size(low, high, low_text, high_text, zero)
    return Type(read, f"a size from {low_text} to {high_text}", "8 gigs", "int")


def listing(item: Type, wanted: str, words: str, bad: Any = "one") -> Type:
    return Type(schema.listing(item.read, wanted), words, bad, "list", item.argument, keys=item.keys)
