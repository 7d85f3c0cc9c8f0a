# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about jupyter_images and the instances that name them."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, TAO, at_hub, here

STATISTICS = {"declared": "statistics"}
DECLARED = [{"name": "statistics", "kernels": ["r"]}]
TWO = [{"title": "a", "image": "a:1"}, {"title": "b", "image": {"declared": "statistic"}}]


USED = here(image={"declared": "s"})
LUA = {**USED, "images": [{"name": "s", "kernels": ["lua"]}]}
SHORT = {"title": "Lua", "language": "lua"}
# What the engine's host would refuse; kernels only count where the image is built.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kernels": ["bsh"]}, "kernels: there is no kernel bsh; did you mean bash?"),
    ({"kernels": ["r", {"name": "r", "environment": "x"}]}, "kernels: r has one environment"),
    ({"push": "Registry/"}, "push: 'Registry/' is not a registry; write its address"),
    ({"folder": "mapnik", "push": "Registry/"}, "push: 'Registry/' is not a registry"),
    ({"pip": ["--pre"]}, "pip: '--pre' is not a package"),
    ({"files": [{"dest": "motd", "content": ""}]}, "files: dest: 'motd' is not an absolute path"),
    ({"files": [{"dest": "/motd", "content": "", "mode": "rw"}]}, "files: mode: 'rw' is not a mode"),
    ({"extra_ca_certificates": ["/etc/ca.pem"]}, "one is not PEM"),
]


def _declared(key: str) -> dict[str, Any]:
    return {**here(image={key: "statistics"}), "images": DECLARED}


IMAGE_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("wrong_type", "jupyter_images", "is a mapping; write a list", {"images": {"statistics": {}}}),
    ("wrong_type", "jupyter_images[0]", "is text; write a mapping", {"images": ["statistics"]}),
    ("wrong_type", "jupyter_images[0].name", "is a whole number", {"images": [{"name": 7}]}),
    ("wrong_type", f"{TAO}.image.declared", "is a list", here(image={"declared": ["statistics"]})),
    ("missing", "jupyter_images[0].name", "write a name", {"images": [{"kernels": ["r"]}]}),
    ("missing", f"{TAO}.image.declared", "the name of an image in jupyter_images", here(image={})),
    (
        "unknown_key",
        f"{TAO}.image.declare",
        "did you mean 'declared'?",
        _declared("declare"),
    ),
    ("declared_name", "jupyter_images[0].name", "'Statistics:1' is not a name", {"images": [{"name": "Statistics:1"}]}),
    ("declared_own", "jupyter_images[0].name", "choose another one", {"images": [{"name": "carrel/lab"}]}),
    ("declared_own", "jupyter_images[0].name", "own image", {"images": [{"name": "carrel/hub", "folder": "lab"}]}),
    (
        "declared_twice",
        "jupyter_images[2].name",
        "also the name of jupyter_images[0]",
        {"images": [*DECLARED, {"name": "geo"}, *DECLARED]},
    ),
    ("declared_unknown", f"{TAO}.image.declared", "'statistics' is not one", here(image=STATISTICS)),
    (
        "declared_unknown",
        f"{CLASS}.images[1].image.declared",
        "did you mean 'statistics'?",
        {**at_hub(image=..., images=TWO), "images": DECLARED},
    ),
    (
        "declared_unknown",
        f"{TAO}.image.declared",
        "did you mean 'statistics'?",
        {**here(image=...), "defaults": {"image": {"declared": "statistik"}}, "images": DECLARED},
    ),
    (
        "not_text",
        "jupyter_images[0].files[0].mode",
        "write it in quotes",
        {"images": [{"name": "s", "files": [{"dest": "/motd", "content": "hello", "mode": 0o644}]}]},
    ),
    (
        "not_text",
        "jupyter_images[0].files[0].content",
        "is a whole number",
        {
            "images": [{"name": "s", "files": [{"dest": "/motd", "content": 7}]}],
        },
    ),
    (
        "unknown_key",
        "jupyter_images[0].kernel",
        "did you mean 'kernels'?",
        {"images": [{"name": "s", "kernel": ["r"]}]},
    ),
    (
        "unknown_key",
        "jupyter_images[0].kernels[0].enviroment",
        "did you mean 'environment'?",
        {
            "images": [{"name": "s", "kernels": [{"name": "python", "enviroment": "maps"}]}],
        },
    ),
    (
        "wrong_type",
        "jupyter_images[0].pip",
        "is text; write a list of packages",
        {
            "images": [{"name": "s", "pip": "geopandas==1.1.1"}],
        },
    ),
    (
        "missing",
        "jupyter_images[0].files[0].dest",
        "write a path in the image",
        {
            "images": [{"name": "s", "files": [{"content": ""}]}],
        },
    ),
    (
        "beside_folder",
        "jupyter_images[0].apt",
        "write it into the Dockerfile",
        {
            "images": [{"name": "s", "folder": "lab", "apt": ["gdal-bin"], "build_args": {"A": "b"}, "base": None}],
        },
    ),
    (
        "environment_name",
        "jupyter_images[0].build_args.A-B",
        "no digit first",
        {"images": [{"name": "s", "build_args": {"A-B": "x"}}]},
    ),
    (
        "build_context",
        "jupyter_images[0].folder",
        "'/inventory/missing' is not a folder",
        {"images": [{"name": "mapnik", "folder": "missing"}]},
    ),
    *[
        (
            "declared_image",
            "jupyter_images[0]",
            text,
            {**(USED if "kernels" in keys else {}), "images": [{"name": "s", **keys}]},
        )
        for keys, text in WRONG
    ],
    (
        "declared_kernel",
        "image_kernels",
        "kernel lua: argv, smoke, tested is missing",
        {**LUA, "kernels": {"lua": SHORT}},
    ),
    ("declared_kernel", "image_kernels", "kernel lua is not a mapping", {**LUA, "kernels": {"lua": None}}),
    ("wrong_type", "image_kernels", "a mapping of names to kernels", {**LUA, "kernels": ["lua"]}),
    ("build_pull", f"{TAO}.pull", "leave pull out", {**here(image=STATISTICS, pull="always"), "images": DECLARED}),
    (
        "build_pull",
        f"{CLASS}.reset.pull",
        "leave pull out",
        {**at_hub(image=STATISTICS, reset={"at": "01:25", "pull": True}), "images": DECLARED},
    ),
]
