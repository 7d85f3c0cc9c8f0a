# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared images compared with a stand-in for an engine; tests/integration/test_image_role.py has a real one."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, image_cache, image_drift, image_probe
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build, declared
from test_status_strangers import Say, engine, flood, silent

BASE = {"Id": "sha256:b", "Config": {"User": "1000:100"}, "RepoDigests": []}
COMMON = {
    "build_args": {},
    "certificates": [],
    "directory": "/images",
    "lab": "carrel/lab:1",
    "digests": {"geo": "abc"},
}
IMAGES = [
    {"name": "statistics", "pip": ["humanize==4.13.0"], "push": "registry.example.org/jupyter"},
    {"name": "geo", "folder": "/control/geo"},
]
SETTINGS = {"p:theme": {"theme": "Dark"}}
UNKNOWN = "the settings of its base carrel/lab:1"
JUPYTERLAB = {"settings": "/opt/lab/settings", "overrides": {}, "plugins": {"p:theme": ["theme"]}}


def having(images: Mapping[str, Any]) -> Say:
    """An engine with these images."""

    def say(connection: socket.socket) -> None:
        while b"\r\n\r\n" in (asked := connection.recv(65536)):
            name = unquote(asked.split()[1].decode()).removeprefix("/images/").removesuffix("/json")
            status, content = ("200 OK", images[name]) if name in images else ("404 Not Found", {"message": "none"})
            body = json.dumps(content).encode()
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return say


def look(folder: Path, say: Say, images: list[dict[str, Any]], running: bool = True) -> list[dict[str, Any]]:
    entries = declared.entries(images, COMMON)
    (job,) = declared.to_compare([{"engine": "tao", "images": [image["name"] for image in images]}], entries, None)
    with engine(folder / "s", say):
        about = {"running": running, "socket": str(folder / "s")}
        return image_drift.look(job, about, {}, str(folder / "examined.json"))


def tags(images: list[dict[str, Any]], jupyterlab: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
    """What image_build names them."""
    entries = [declared.completed(entry) for entry in declared.entries(images, COMMON)]
    builds, problems = build.read_all(entries, {})
    assert problems == []
    return [build.made(entry, each, BASE, jupyterlab)[0] for entry, each in zip(entries, builds)]


def test_what_is_there_by_its_tag_is_as_declared(tmp_path: Path) -> None:
    statistics, geo = tags(IMAGES)
    of_registry = {"Id": "sha256:s", "RepoDigests": ["registry.example.org/jupyter/statistics@sha256:1"]}
    found = look(tmp_path, having({"carrel/lab:1": BASE, statistics: of_registry, geo: BASE}), IMAGES)
    assert [(each["image"], each["reasons"]) for each in found] == [(statistics, []), (geo, [])]
    assert found[0] == {"engine": "tao", "name": "statistics", "image": statistics, "reasons": []}


@pytest.mark.parametrize(
    ("images", "there", "reason"),
    [
        (IMAGES[:1], {}, "the engine does not have its base carrel/lab:1"),
        (IMAGES[:1], {"carrel/lab:1": BASE}, ", the image that its declaration makes"),
        (
            [{"name": "statistics", "base": "registry.example.org/lab:1", "pip": ["a==1"]}],
            {"registry.example.org/lab:1": {**BASE, "Id": "sha256:newer"}, "TAG": BASE},
            "the engine does not have statistics:",
        ),
        (IMAGES[:1], {"carrel/lab:1": BASE, "TAG": BASE}, "was not pushed to registry.example.org/jupyter"),
        (IMAGES[1:], {}, "the engine does not have geo:"),
        ([{"name": "s", "pip": [""]}], {"carrel/lab:1": BASE}, "image s: "),
        ([{"name": "s", "settings": SETTINGS}], {"carrel/lab:1": BASE}, "no run has looked into the settings"),
        (IMAGES[:1], {"carrel/lab:1": {"Id": 7}}, "the engine does not have statistics:"),
        (IMAGES[:1], {"carrel/lab:1": []}, "it cannot be compared, because of a"),
    ],
)
def test_why_an_image_is_not_as_declared(
    tmp_path: Path, images: list[dict[str, Any]], there: dict[str, Any], reason: str
) -> None:
    if "TAG" in there:
        there = {**there, tags(images)[0]: there["TAG"]}
    (found,) = look(tmp_path, having(there), images)
    assert found["image"] is None and reason in found["reasons"][0]


def test_settings_are_compared_with_what_a_run_has_found_out_about_the_base(tmp_path: Path) -> None:
    images = [{"name": "s", "settings": SETTINGS}]
    server = image_probe.Server("2.0", "/t", "/opt/bin/python3", "")
    known = image_probe.Image("sha256:b", [], [], 1000, 100, [server], jupyterlab=JUPYTERLAB)
    (tag,) = tags(images, JUPYTERLAB)
    for path, reasons in (tmp_path / "s", []), (tmp_path / "other", [f"no run has looked into {UNKNOWN}"]):
        key = image_probe.Engine(str(path), "", None, lambda _command, _text: (1, "", "")).cache_key(BASE)
        cached = image_cache.extend({}, key, image_probe.cache_entry(known))
        (tmp_path / "examined.json").write_bytes(cached)
        (found,) = look(tmp_path, having({"carrel/lab:1": BASE, tag: BASE}), images)
        assert (found["image"], found["reasons"]) == (None if reasons else tag, reasons), "another engine may lie"
        (tmp_path / "s").unlink()  # so that the engine can make it anew


def test_a_cache_that_is_too_long_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST", 10)
    (tmp_path / "examined.json").write_text("{}" + 10 * " ")
    (found,) = look(tmp_path, having({"carrel/lab:1": BASE}), [{"name": "s", "settings": SETTINGS}])
    assert found["reasons"] == [f"no run has looked into {UNKNOWN}"]


def test_what_one_engine_has_pushed_the_others_need_not_push(tmp_path: Path) -> None:
    """Each would push another image under the same tag."""
    (tag,) = tags(IMAGES[:1])
    pushed = {"Id": "sha256:s", "RepoDigests": ["registry.example.org/jupyter/statistics@sha256:1"]}
    answers = []
    for number, image in enumerate(({**BASE, "Id": "sha256:t"}, pushed)):
        (tmp_path / str(number)).mkdir()
        answers += look(tmp_path / str(number), having({"carrel/lab:1": BASE, tag: image}), IMAGES[:1])
    assert [each["image"] for each in answers] == [None, tag]
    found = image_drift.pushed_once(answers)
    assert [(each["image"], each["reasons"]) for each in found] == [(tag, []), (tag, [])]
    (alone,) = image_drift.pushed_once(answers[:1])
    assert alone["image"] is None and set(alone) == set(found[0])


def test_an_engine_that_does_not_run(tmp_path: Path) -> None:
    found = look(tmp_path, having({}), IMAGES, running=False)
    assert [each["reasons"] for each in found] == [["the engine tao does not run"]] * 2


def test_an_engine_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.carrel.jupyter.plugins.module_utils._host.drift.CALL_SECONDS", 0.5)
    for number, say in enumerate((flood, silent)):
        (tmp_path / str(number)).mkdir()
        (found,) = look(tmp_path / str(number), say, IMAGES[:1])
        assert found["image"] is None and "does not answer" in found["reasons"][0]


@pytest.mark.parametrize(
    ("pulled", "image", "reasons"),
    [
        ({"statistics": {"digest": "r/s@sha256:1"}}, "r/s@sha256:1", []),
        ({"statistics": {"digest": "r/s@sha256:2"}}, None, ["the engine does not have r/s@sha256:2"]),
        ({}, None, ["not compared, because another host builds it in the same run"]),
    ],
)
def test_what_another_host_builds(tmp_path: Path, pulled: Any, image: str | None, reasons: list[str]) -> None:
    (job,) = declared.to_compare([{"engine": "tao", "images": ["statistics"]}], IMAGES, pulled)
    with engine(tmp_path / "s", having({"r/s@sha256:1": BASE})):
        (found,) = image_drift.look(job, {"running": True, "socket": str(tmp_path / "s")}, {}, str(tmp_path / "none"))
    assert (found["image"], found["reasons"]) == (image, reasons)
