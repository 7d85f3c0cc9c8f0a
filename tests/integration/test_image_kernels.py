# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kernel that can be had here, in one image, asked through a running server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as _image_build
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels
from own_images import build_files, lab_image, server

from testbed.client import Lab
from testbed.run import ROOT

FOLDER = ROOT / "images" / "kernels"
KNOWN = {path.stem: kernels.read(path.stem, yaml.safe_load(path.read_text())) for path in FOLDER.glob("*.yml")}
TESTED = [name for name, kernel in KNOWN.items() if kernel.tested]
SECOND = {"name": "python", "environment": "second", "pip": ["humanize==4.13.0"]}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    build = _image_build.Build("kernels", lab_image(), kernels=kernels.choose([*TESTED, SECOND], KNOWN))
    with server(build_files("own-kernels", _image_build.context(build, "1000:100"))) as (_unused, session):
        yield session


@pytest.mark.parametrize("name", TESTED)
def test_a_kernels_smoke_cell_prints_the_declared_output(lab, name):
    assert lab.kernel(KNOWN[name].spec).run(KNOWN[name].smoke.code).rstrip() == KNOWN[name].smoke.output


def test_jupyterlab_offers_each_with_its_title(lab):
    specs = lab.request("GET", "api/kernelspecs").json()["kernelspecs"]
    titles = {spec["spec"]["display_name"] for spec in specs.values()}
    assert titles == {KNOWN[name].title for name in TESTED} | {"Python (second)"}


def test_python_environments_are_apart(lab):
    code = (
        "import sys\ntry:\n import humanize\nexcept ImportError:\n humanize = None\nprint(sys.prefix, bool(humanize))"
    )
    assert lab.kernel("python3").run(code) == "/opt/kernels/python False\n"
    assert lab.kernel("python-second").run(code) == "/opt/kernels/second True\n"


def test_cpp_keeps_what_earlier_cells_declare(lab):
    cpp = lab.kernel("cpp")
    cpp.run("int twice(int x) { return 2 * x; }")
    assert cpp.run("std::cout << twice(21) << std::endl;") == "42"


def test_cpp_cells_that_do_not_compile_have_failed_and_later_ones_run(lab):
    cpp = lab.kernel("cpp")
    with pytest.raises(RuntimeError, match="use of undeclared identifier 'nonsense'"):
        cpp.run("int broken = nonsense;")
    assert cpp.run("\n") == "" and cpp.run('std::cout << "fine" << std::endl;') == "fine"
    with pytest.raises(RuntimeError, match="terminate called"):
        cpp.run("throw 1;")
