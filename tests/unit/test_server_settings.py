# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's own traits of jupyter_server: in the plan, in what is written, and what an image says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import server_check
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.server_settings import forbidden
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub, server_settings
from plan_helpers import good
from plan_helpers import hub as a_hub
from plan_helpers import lab as a_lab
from test_hub_project import ENGINE
from test_hub_project import IMAGE as HUB_IMAGE
from test_lab import project

OWN = {"ServerApp": {"max_body_size": 5, "tornado_settings": {"headers": {"X-Own": "yes"}}}, "A": {"b": [1]}}


def test_the_plan_hands_them_to_both_kinds() -> None:
    for declared, key in ((a_lab, "lab_instances"), (a_hub, "hub_instances")):
        assert good([declared(server_settings=OWN)])[key][0]["server_settings"] == OWN
        assert good([declared()])[key][0]["server_settings"] == {}


def test_the_plan_and_the_status_name_them() -> None:
    for declared, key in ((a_lab, "lab_instances"), (a_hub, "hub_instances")):
        result = good([declared(server_settings=OWN)])
        assert result[key][0]["own"] == ["server_settings A, ServerApp"]
        assert "; your own server_settings A, ServerApp" in result["summary"][0]
        assert good([declared(state="absent", server_settings=OWN)])[key][0]["own"] == []


def test_everything_that_the_role_sets_is_forbidden() -> None:
    """Otherwise a trait of the administrator's would have no effect, and nobody would say so."""
    ours = project(image={"uid": 0}, collaboration=True)["settings"]
    found = {place for place, _instead in forbidden(ours, lab=True)}
    assert found == {f"{section}.{trait}" for section, traits in ours.items() for trait in traits}


def test_a_lab_has_both_and_ours_count() -> None:
    settings = project(server_settings={**OWN, "ServerApp": {**OWN["ServerApp"], "port": 1}})["settings"]
    assert settings["A"] == {"b": [1]} and settings["ServerApp"]["max_body_size"] == 5
    assert settings["ServerApp"]["port"] == 8888
    assert settings["ServerApp"]["tornado_settings"] == {"headers": {"X-Own": "yes"}, "cookie_name": "username-tao"}


def of_hub(**keys: Any) -> dict[str, Any]:
    instance = good([a_hub(**keys)])["hub_instances"][0]
    return hub.project(instance, ENGINE, [HUB_IMAGE], "carrel/hub:1")


def test_users_servers_read_them_before_what_the_image_has() -> None:
    decided = of_hub(server_settings=OWN, environment={"JUPYTER_CONFIG_PATH": "/own"})
    config = json.loads(decided["config"])
    assert config["environment"]["JUPYTER_CONFIG_PATH"] == "/etc/carrel:/own"
    (mount,) = (each for each in config["mounts"] if each["target"] == "/etc/carrel/jupyter_server_config.json")
    assert mount["read_only"]
    (file,) = (each for each in decided["files"] if each["path"] == mount["source"])
    assert json.loads(file["content"]) == OWN


def test_a_hub_without_them_has_no_such_file() -> None:
    decided = of_hub()
    assert "/srv/class101/hub/server_settings.json" in decided["absent"]
    assert "JUPYTER_CONFIG_PATH" not in json.loads(decided["config"])["environment"]


CLASSES = {"ServerApp": ["max_body_size", "port"], "LabApp": ["news_url"]}


@pytest.mark.parametrize(
    ("settings", "answer", "says"),
    [
        ({"ServerApp": {"max_body_size": 5}}, {}, []),
        (
            {"ServreApp": {"max_body_size": 5}},
            {},
            ["server_settings.ServreApp: there is no class ServreApp; did you mean ServerApp?"],
        ),
        (
            {"ServerApp": {"max_bodysize": 5}},
            {},
            [
                "server_settings.ServerApp.max_bodysize: ServerApp has no trait max_bodysize; did you mean "
                "max_body_size?"
            ],
        ),
        # Its class may be one of an extension that was not loaded any more.
        (
            {"ServerApp": {"port": "x"}, "OfExtension": {"a": 1}},
            {"said": "Bad config", "refused": [["ServerApp", "port", "it expected an int."]]},
            ["server_settings.ServerApp.port: it expected an int."],
        ),
        ({"LabApp": {"news_url": "x"}}, {"said": "no"}, ["server_settings: the server does not start with them: no"]),
    ],
)
def test_what_is_said_about_an_answer(settings: dict[str, Any], answer: dict[str, Any], says: list[str]) -> None:
    assert server_settings.problems(settings, {"classes": CLASSES, "refused": [], "said": None, **answer}) == says


def test_the_answer_is_a_line_of_its_own() -> None:
    code = f"{Path(server_check.__file__).read_text().partition('def main()')[0]}\n"
    code += "os.write(1, b'half a line')\ntell('mark ', {'a': 1})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["half a line", 'mark {"a": 1}']


def test_classes_that_a_server_imports_late_are_known(tmp_path: Path) -> None:
    for name, text in (
        ("traitlets/config.py", "class Configurable:\n class_trait_names = class_traits = lambda **_: {'a': 1}\n"),
        (
            "nbconvert/exporters.py",
            "from traitlets.config import Configurable\nclass WebPDFExporter(Configurable): ...",
        ),
        ("nbconvert/preprocessors.py", "raise OSError"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    code = f"{Path(server_check.__file__).read_text().partition('def main()')[0]}\n"
    code += "set_up = lambda settings: None\ntell('', answer({}))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ).stdout  # fmt: skip
    assert json.loads(said)["classes"] == {"WebPDFExporter": ["a"]}
