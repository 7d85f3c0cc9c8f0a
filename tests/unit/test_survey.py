# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine of a stranger that says too much, nothing, or nonsense; tests/integration/test_adopt.py asks a real one."""

from __future__ import annotations

import copy
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import survey
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineError
from ansible_collections.carrel.jupyter.plugins.modules import instance_survey

MOUNT = {"Type": "bind", "Destination": "/home/jovyan/work", "RW": True}


def asked(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Any:
    def call(engine: survey.EngineAPI, method: str, path: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(survey.EngineAPI, "call", call)
    found = survey._containers("/run/user/999/docker.sock", "start it")
    assert found["containers"] == []
    return found["problem"]


def test_what_an_engine_cannot_say_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, []) is None
    assert asked(monkeypatch, EngineError(0, "it sleeps")) == "it sleeps; start it, and adopt again"
    assert "more than 200 containers: adopt is for a few" in asked(monkeypatch, [{"Id": "a"}] * 201)
    for nonsense in ([{}], [3], {"a": 1}, 5, None, [{"Id": None}]):
        assert asked(monkeypatch, nonsense) == "the engine at /run/user/999/docker.sock does not answer as Docker does"


def test_what_is_mounted_is_looked_at_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/etc")
    kinds = {
        "folder": "folder",
        "file": "file",
        "link": "other",
        "link/ssl": "other",
        "gone": "other",
        "gone/x": "other",
    }
    for name, kind in kinds.items():
        assert survey._mount({**MOUNT, "Source": f"{tmp_path}/{name}"})["kind"] == kind, name
    assert survey._mount({**MOUNT, "Source": f"{tmp_path}/file"})["empty"]
    assert survey._mount(MOUNT)["kind"] == "other"


ENGINE = {
    "/containers/json?all=1": [{"Id": "a"}],
    "/images/b/json": {"Config": {"Env": None, "Cmd": None}},
    "/volumes": {"Volumes": [{"Name": "plain", "Mountpoint": "/v/plain", "Driver": "local", "Options": None}]},
    "/containers/a/json": {
        "Name": "/lab", "Image": "b", "State": {"Running": True, "StartedAt": "1970-01-01T00:01:00.5Z"},
        "Mounts": [{**MOUNT, "Source": "/none"}],
        "Config": {
            "Image": "lab:1", "Env": ["A=b"], "Cmd": ["lab"], "User": "", "Labels": {
                "com.docker.compose.project": "tao", "com.docker.compose.project.working_dir": "/srv/tao"
            }
        },
        "HostConfig": {
            "PortBindings": {"8888/tcp": [{"HostIp": "", "HostPort": "9288"}]}, "Memory": 0, "ShmSize": 1,
            "NanoCpus": 1, "PidsLimit": None, "Privileged": False, "CapAdd": None, "Devices": None, "NetworkMode": "x",
        },
    },
}  # fmt: skip


def said(monkeypatch: pytest.MonkeyPatch, *keys: str, value: Any = None) -> dict[str, Any]:
    """What an engine says, with another value at one place."""
    answers = copy.deepcopy(ENGINE)
    place: Any = answers["/containers/a/json"]
    for key in keys[:-1]:
        place = place[key]
    for key in keys[-1:]:
        place[key] = value
    monkeypatch.setattr(survey.EngineAPI, "call", lambda engine, method, path: answers[path])
    return survey._containers("/run/user/999/docker.sock", "start it")


def test_what_an_engine_says_has_the_right_types(monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(monkeypatch)
    assert found["problem"] is None and found["containers"][0]["directory"] == "/srv/tao"
    assert found["containers"][0]["started"] == 60.5
    for keys, value in (
        (("Config", "Labels", "com.docker.compose.project.working_dir"), {}),
        (("Config", "Labels", "com.docker.compose.project"), 5),
        (("State", "StartedAt"), "yesterday"),
        (("State", "StartedAt"), 5),
        (("Config", "Image"), ["lab"]),
        (("Config", "Image"), "\ud800"),
        (("Config", "User"), 3),
        (("Config", "Cmd"), "lab"),
        (("Config", "Cmd"), [{}]),
        (("Config", "Env"), [3]),
        (("HostConfig", "Memory"), 1.5),
        (("HostConfig", "PidsLimit"), "1"),
        (("HostConfig", "NanoCpus"), 10**400),
        (("HostConfig", "CapAdd"), [{}]),
        (("HostConfig", "PortBindings"), {"8888/tcp": [{"HostIp": 3, "HostPort": "1"}]}),
        (("HostConfig", "PortBindings"), {"8888/tcp": [{"HostIp": "", "HostPort": "99999"}]}),
        (("Mounts",), [{**MOUNT, "Source": 5}]),
        (("Config", "Labels", "com.docker.compose.project.working_dir"), 5000 * "a"),
    ):
        found = said(monkeypatch, *keys, value=value)
        assert not found["containers"], keys
        assert found["problem"] == "the engine at /run/user/999/docker.sock does not answer as Docker does", keys


def test_a_volume_that_only_the_engine_sees_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one with options, Docker names a folder that is empty on the host."""
    for name, kind in {"plain": "folder", "with-options": "other", "": "folder"}.items():
        found = said(monkeypatch, "Mounts", value=[{**MOUNT, "Source": str(tmp_path), "Name": name}])
        assert found["problem"] is None and found["containers"][0]["mounts"][0]["kind"] == kind, name


def test_an_account_s_socket_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").symlink_to("/run/docker.sock")
    problem = survey._containers(str(tmp_path / "docker.sock"), "start it")["problem"]
    assert problem.startswith(
        f"{tmp_path}/docker.sock is no socket of its directory's owner, so nothing was asked there."
    )
    assert problem.endswith("; start it, and adopt again")


def test_crontabs_and_services_are_read_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, spool = tmp_path / "tao", tmp_path / "crontabs"
    units = home / survey.OWN_UNITS
    for folder in (spool, units, tmp_path / "system"):
        folder.mkdir(parents=True)
    (spool / "tao").write_text("@daily docker compose -f ~/lab/compose.yml up -d\n")
    (spool / "root").write_text(f"@daily docker compose -f {home}/lab/compose.yml up -d\n")
    (tmp_path / "crontab").write_text("0 1 * * * root true\n")
    service = "[Service]\nExecStart=/usr/bin/docker start lab\n"
    (units / "lab.service").write_text(service)
    (units / "lab.timer").write_text("[Timer]\n")
    (tmp_path / "system/other.service").write_text(service)
    for name, value in (("CRONTABS", "crontabs"), ("CRONTAB", "crontab"), ("UNITS", "system")):
        monkeypatch.setattr(survey, name, f"{tmp_path}/{value}")

    def found() -> dict[str, list[str]]:
        starters = survey._starters({str(home): "tao"}, ["tao", f"{home}/lab"])
        return {os.path.relpath(one["path"], tmp_path): one["projects"] for one in starters}

    own = f"tao/{survey.OWN_UNITS}/lab.service"
    assert found() == {"crontabs/root": [f"{home}/lab"], "crontabs/tao": ["tao"], own: ["tao"]}
    for path in (spool / "tao", units / "lab.service"):
        path.rename(f"{path}.real")
        path.symlink_to(f"{path}.real")
    os.mkfifo(units / "pipe.service")
    (units / "long.service").write_text(service + "#" * survey.LONGEST)
    assert found() == {"crontabs/root": [f"{home}/lab"]}


def test_ranges_of_subordinate_ids_are_counted() -> None:
    account = pwd.struct_passwd(("tao", "x", 1001, 1001, "", "/srv/tao", "/bin/sh"))
    assert survey._count("tao:1:2\n1001:5:2\nother:9:2\n", account) == 2


def test_the_module_must_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        def fail_json(self, msg: str) -> None:
            raise SystemExit(msg)

    monkeypatch.setattr(instance_survey, "AnsibleModule", lambda **given: Module())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="only root can read what accounts have set up: run it with become: true"):
        instance_survey.main()
