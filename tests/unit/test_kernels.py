# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels by name; tests/integration/test_image_kernels.py builds and runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels
from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import KernelError, choose
from hypothesis import given
from hypothesis import strategies as st

FOLDER = Path(__file__).parents[2] / "images" / "kernels"
KNOWN = {path.stem: kernels.read(path.stem, yaml.safe_load(path.read_text())) for path in FOLDER.glob("*.yml")}
OTHERS = {"go", "scala", "racket", "julia"}
HERE = {"python", "bash", "r", "javascript", "typescript", "c", "c++", "java", "octave"}


def test_every_kernel_that_is_promised_is_declared():
    assert {name for name, kernel in KNOWN.items() if kernel.tested} == HERE
    assert {name for name, kernel in KNOWN.items() if not kernel.tested} == OTHERS


@pytest.mark.parametrize("name", KNOWN)
def test_a_declaration_has_what_jupyter_needs(name):
    kernel = KNOWN[name]
    spec = json.loads(kernels.kernelspec(kernel))
    assert "{connection_file}" in spec["argv"] and "{environment}" not in json.dumps(spec)
    assert kernel.smoke.code and kernel.smoke.output == kernel.smoke.output.strip() != ""
    assert spec["interrupt_mode"] in ("signal", "message")
    assert kernel.environment or not (kernel.pip or kernel.npm)
    # https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
    assert set(kernel.spec) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.mark.parametrize("name", KNOWN)
def test_the_steps_are_shell(name):
    text = kernels.script(KNOWN[name])
    assert subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False).stderr == ""
    assert text.startswith(f"echo 'carrel-part: kernel {KNOWN[name].spec}'\n")


@pytest.mark.parametrize("name", [name for name, kernel in KNOWN.items() if kernel.tested])
def test_tested_kernels_have_exact_versions(name):
    assert all("==" in requirement for requirement in KNOWN[name].pip)
    assert all("@" in package[1:] for package in KNOWN[name].npm)


def test_python_has_as_many_environments_as_asked_for():
    wanted = ["python", {"name": "python", "environment": "geo", "pip": ["geopandas==1.1.1"], "apt": ["libgdal36"]}]
    plain, geo = choose(wanted, KNOWN)
    assert (plain.spec, plain.path, geo.spec, geo.path) == (
        "python3", "/opt/kernels/python", "python-geo", "/opt/kernels/geo",
    )  # fmt: skip
    assert json.loads(kernels.kernelspec(geo))["argv"][0] == "/opt/kernels/geo/bin/python"
    assert json.loads(kernels.kernelspec(geo))["display_name"] == "Python (geo)"
    assert geo.pip == [*plain.pip, "geopandas==1.1.1"] and geo.apt == ["libgdal36"]
    assert "geopandas" not in kernels.script(plain) and "geopandas==1.1.1" in kernels.script(geo)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["javscript"],
            "there is no kernel javscript; did you mean javascript?",
        ),
        (["cobol-85"], "there is no kernel cobol-85; the known ones are: bash, "),
        ([{"environment": "x"}], "there is no kernel None; "),
        (["bash", "bash"], "bash is listed twice"),
        (["python", {"name": "python"}], "python3 is listed twice"),
        ([{"name": "bash", "environment": "mine"}], "bash has one environment; only python"),
        ([{"name": "python", "environment": "../x"}], "'../x' is not a name for an environment"),
        ([{"name": "python", "environment": "languages"}], "and none of languages, node"),
        (
            [{"name": "python", "pips": ["x"]}],
            "unknown key pips; the keys are: name, environment, title, apt, pip, npm",
        ),
        ([{"name": "python", "pip": ["--index-url=x"]}], "pip: '--index-url=x' is not a package"),
        ([{"name": "python", "apt": ["a\nb"]}], "is not a package"),
        ([{"name": "python", "apt": [7]}], "7 is not a package"),
        # in no time, however long the text is
        ([{"name": "python", "pip": ["x" * 200 + " "]}], "x ' is not a package"),
        ([{"name": "python", "pip": ["x" * 200 + "  y"]}], "x  y' is not a package"),
    ],
)
def test_invalid_choices_are_refused(wanted, message):
    with pytest.raises(KernelError) as error:
        choose(wanted, KNOWN)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tilte": "x"}, "kernel k: unknown key tilte"),
        ({"smoke": None, "tested": None}, "kernel k: smoke, tested is missing"),
        ({"tested": False}, "explain in the key reason"),
        ({"smoke": "42"}, "smoke is not a cell; write {code, output}"),
        ({"smoke": {"code": "42"}}, "smoke is not a cell; write {code, output}"),
    ],
)
def test_invalid_declarations_are_refused(change, message):
    good = {"title": "K", "language": "k", "argv": ["k"], "smoke": {"code": "1", "output": "1\n"}, "tested": True}
    declaration = {key: value for key, value in {**good, **change}.items() if value is not None}
    with pytest.raises(KernelError, match=message):
        kernels.read("k", declaration)


@given(st.text(min_size=1).filter(lambda text: text.isprintable() and not text.startswith("-") and " " not in text))
def test_no_package_name_is_more_than_one_word_to_the_shell(name):
    kernels.check_packages("here", [name])
    command = kernels.pip("printf '%s\\n'; :", [name]).replace("-q --no-cache-dir --root-user-action ignore", "")
    shown = subprocess.run(["sh", "-c", "set -- " + command.split("install ", 1)[1] + '; printf "%s" "$#"'],
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert shown.stdout == "1"
