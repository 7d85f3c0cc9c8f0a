# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of an image in jupyter_images. The role image has the same keys in image_builds."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images.build import NAME, OWN_NAMES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import hub_values, types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    listing,
    read,
    text,
)


def _name(value: Any, path: str, problems: Problems) -> str | Invalid:
    name: str | Invalid = text("a name in quotes")(value, path, problems)
    if isinstance(name, str) and not NAME.fullmatch(name):
        problems.add(path, "declared_name", value=show(name))
    elif name in OWN_NAMES:
        problems.add(path, "declared_own", value=show(name))
    return name


def _labels(value: Any, path: str, problems: Problems) -> dict[str, str] | Invalid:
    return values.texts(value, 'a mapping, for example {version: "1.0"}', path, problems)


def _content(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Read the text of a file. It may be empty."""
    if isinstance(value, str):
        return str(value)
    problems.add(path, "not_text", got=kind_of(value))
    return INVALID


_BUILD_ARGS = Type(values.variables('a mapping, for example {VERSION: "1.0"}'), "names and texts", [], "dict")
_LABELS = Type(_labels, "names and texts", [], "dict")
_CONTENT = Type(_content, "text", 7)
_CERTIFICATES = Type(
    listing(text("the text of a certificate, PEM", multiline=True), "a list of certificates as text"),
    "a list of texts", "ca.crt", "list", "str",
)  # fmt: skip


def _packages(example: str) -> Type:
    read_packages = listing(text("a package in quotes"), f"a list of packages, for example [{example}]")
    return Type(read_packages, "a list of packages", example, "list", "str")


def _package_keys(environment: str) -> dict[str, Key]:
    return {
        "apt": Key(_packages("gdal-bin"), "Debian packages.", example=["gdal-bin"], default=[]),
        "pip": Key(
            _packages("geopandas==1.1.1"),
            f"Python packages for {environment}, with versions.",
            example=["geopandas==1.1.1"],
            default=[],
        ),
        "npm": Key(_packages("cowsay@1.6.0"), "npm packages, with versions.", example=["cowsay@1.6.0"], default=[]),
    }


KERNEL: dict[str, Key] = {
    "name": Key(types.text("the name of a kernel, for example r"), "Its name.", example="r", needed="a name"),
    "environment": Key(
        types.text("the name of an environment"),
        "Name of a separate Python environment.",
        example="maps",
        unset="the kernel's own",
    ),
    "title": Key(types.text("a title"), "Title that people see.", example="Python (maps)", unset="the kernel's own"),
    **_package_keys("the kernel's environment"),
}
_kernel = record_of(KERNEL)


def read_kernel(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _kernel({"name": value} if isinstance(value, str) else value, path, problems)
    return parts if isinstance(parts, Invalid) else filled(KERNEL, parts)


KERNEL_TYPE = Type(read_kernel, "a name, or a mapping", 7, "raw", keys=KERNEL)

FILE: dict[str, Key] = {
    "dest": Key(
        types.text("a path in the image, for example /etc/motd"),
        "Its path in the image.",
        example="/etc/motd",
        needed="a path in the image, for example /etc/motd",
    ),
    "content": Key(_CONTENT, "Its text.", example="Welcome to the course.", needed="the text"),
    "mode": Key(_CONTENT, "Its mode, octal digits in quotes.", example="0755", default="0644"),
}
FILE_TYPE = Type(record_of(FILE), "a mapping", "/etc/motd", "dict", keys=FILE)

# Keys that are allowed with folder. The Dockerfile decides everything else.
WITH_FOLDER = ("name", "folder", "dockerfile", "no_cache", "build_args", "push", "smoke")

IMAGE: dict[str, Key] = {
    "name": Key(
        Type(_name, "a name without a registry and a tag", "Statistics:1"),
        "Name of the image. Its tag is made from its content.",
        example="statistics",
        needed="a name, for example statistics",
        single=True,
    ),
    "base": Key(
        types.IMAGE,
        "Base image.",
        example="debian:trixie-slim",
        unset="the collection's own lab image",
    ),
    "kernels": Key(
        types.listing(KERNEL_TYPE, "a list of kernels, for example [r, bash]", "a list of names or mappings", "r"),
        "Kernels in addition to those of the base.",
        example=["r", {"name": "python", "environment": "maps", "pip": ["folium==0.20.0"]}],
        default=[],
    ),
    **_package_keys("the kernel python3"),
    "conda": Key(
        _packages("gdal=3.10.3"),
        "conda packages for the kernel python3, if the base has mamba, conda or micromamba.",
        example=["gdal=3.10.3"],
        default=[],
    ),
    "settings": Key(
        Type(hub_values.settings, "names of plugins and mappings", [], "dict"),
        "Default settings of JupyterLab, merged into the base's overrides.json.",
        example={"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}},
        default={},
    ),
    "files": Key(
        types.listing(FILE_TYPE, "a list of files, for example [{dest: /etc/motd, content: Hello}]", "a list", {}),
        "Text files to put into the image.",
        example=[{"dest": "/etc/motd", "content": "Welcome to the course."}],
        default=[],
    ),
    "build_args": Key(
        _BUILD_ARGS,
        "Build arguments, in addition to the role's image_build_args; do not put secrets here.",
        example={"CONDA_CHANNELS": "https://mirror.example.org/conda-forge"},
        default={},
    ),
    "labels": Key(_LABELS, "Labels of the image.", example={"org.opencontainers.image.vendor": "GIS lab"}, default={}),
    "extra_ca_certificates": Key(
        _CERTIFICATES,
        "Text of CA certificates (PEM) that it trusts, in addition to the role's image_extra_ca_certificates.",
        example=["-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"],
        default=[],
    ),
    "folder": Key(
        types.text("a folder of the control node that holds a Dockerfile"),
        "Instead of base and packages: a folder of the control node with a Dockerfile. Relative paths begin at the "
        "inventory's folder.",
        example="files/images/mapnik",
    ),
    "dockerfile": Key(
        types.text("a file name, for example Dockerfile"),
        "The Dockerfile's name in the folder.",
        example="Dockerfile.gpu",
        default="Dockerfile",
    ),
    "no_cache": Key(types.BOOLEAN, "Whether to build all layers again.", example=True, default=False),
    "push": Key(
        types.text("a registry, for example registry.example.org/jupyter"),
        "Registry, with a path, to which it is pushed after the build.",
        example="registry.example.org/jupyter",
        unset="it stays in its engine",
    ),
    "smoke": Key(
        types.NOTEBOOKS,
        "Notebooks of the control node that run in each new server of labs with this image, before their own, "
        "and in one before a hub's users get it; if one fails, people keep the old image.",
        example=["files/notebooks/maps.ipynb"],
        default=[],
        handed=False,
    ),
}
_image = record_of(IMAGE)


def read_item(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    """Read the keys that an image has."""
    parts: dict[str, Any] | Invalid = _image(value, path, problems)
    if isinstance(parts, Invalid):
        return INVALID
    if parts["folder"] is not None:
        for key in (key for key, item in parts.items() if item is not None and key not in WITH_FOLDER):
            problems.add(f"{path}.{key}", "beside_folder")
    return parts


IMAGE_TYPE = Type(read_item, "a mapping", "statistics", "dict", keys=IMAGE)


def read_list(value: Any, path: str, problems: Problems) -> list[Any] | Invalid:
    """Read all images, with INVALID for one that cannot be read at all."""
    wanted = "a list of images, for example [{name: statistics, kernels: [r]}]"
    images: list[Any] | Invalid = read(listing(read_item, wanted), value, path, problems)
    return images


IMAGES = Key(
    Type(read_list, "a list of [images](#keys-of-an-image)", {}, "list", "dict", keys=IMAGE),
    "Images that engines build for the instances that name them with `image: {declared: NAME}`.",
    example=[{"name": "statistics", "kernels": ["r"]}],
)
