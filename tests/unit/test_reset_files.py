# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reset's settings, its state, its command line, and the scripts that it runs in containers."""

from __future__ import annotations

import datetime
import fcntl
import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from carrel_reset import __main__ as program
from carrel_reset import claims, deployed, jobs, rotate, settings, state
from carrel_reset.engine import Engine, EngineError
from carrel_reset.state import BLOCK, State
from test_reset_run import CONTENT

NOTICE = Path(__file__).parents[2] / "roles" / "lab" / "files" / "notice.py"


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "FOLDER", str(tmp_path))
    with pytest.raises(jobs.SettingsError, match=r"tao.json is missing \(instances that have one: none\)"):
        settings.load("tao")
    (tmp_path / "tao.json").write_text(json.dumps(CONTENT))
    assert settings.load("tao").ports == [8801, 8802]
    (tmp_path / "other.json").write_text(json.dumps(CONTENT))
    with pytest.raises(jobs.SettingsError, match="it belongs to the instance tao"):
        settings.load("other")
    with pytest.raises(jobs.SettingsError, match="not a name for an instance"):
        settings.load("../tao")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is 2, this program reads 1"),
        ({"people": "ask"}, "people is 'ask'"),
        ({"kind": "desk"}, "kind is 'desk'"),
        ({"ports": [1]}, "a lab has 2 ports"),
        ({"ports": ["1", "2"]}, "a lab has 2 ports"),
        ({"deadline_seconds": -1}, "deadline_seconds must be of the type int"),
        ({"deadline_seconds": True}, "deadline_seconds must be of the type int"),
        ({"pull": None}, "pull must be of the type bool"),
        ({"images": [1]}, "images must be a list of strings"),
        ({"compose_files": []}, "compose_files is empty"),
        ({"directory": "srv"}, "directory must be an absolute path"),
        ({"rotate_token": True}, "rotate_token needs token_file"),
    ],
)
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    assert message in "; ".join(settings.problems({**CONTENT, **change}))


def test_a_missing_key_and_no_object() -> None:
    assert settings.problems({key: value for key, value in CONTENT.items() if key != "url"}) == ["url is missing"]
    assert settings.problems([]) and not settings.problems(CONTENT)


def test_settings_of_release_0_1_0() -> None:
    """A site run for some instances brings the new program to all of the host, and new settings to these alone."""
    old = {key: value for key, value in CONTENT.items() if key != "smoke_seconds"}
    assert settings.problems(old) == [] and settings.of(old).smoke_seconds == 0


def of(path: Path) -> State:
    return State(str(path / "state.json"), "tao", "lab")


def test_state_is_running_from_the_beginning_and_whole_blocks(tmp_path: Path) -> None:
    first = of(tmp_path)
    first.begin("2026-01-01T01:25:00+01:00")
    content = (tmp_path / "state.json").read_bytes()
    assert json.loads(content)["result"] == "running" and len(content) % BLOCK == 0
    again = of(tmp_path)
    assert again.interrupted == "begin" and again.last_scheduled == "2026-01-01T01:25:00+01:00"


def test_history_has_thirty(tmp_path: Path) -> None:
    for number in range(33):
        one = of(tmp_path)
        one.begin(None)
        one.finish("done", str(number), 0)
    history = of(tmp_path).content["history"]
    assert len(history) == 30 and history[0]["message"] == "32"


def test_healthy_images_newest_first(tmp_path: Path) -> None:
    one = of(tmp_path)
    for image_id in ("a", "b", "a"):
        one.runs(1, {"lab:1": {"id": image_id, "digest": None}})
    assert [entry["id"] for entry in one.content["healthy"]] == ["a", "b"]


def whole(until: str = "2026-01-01T00:00:00+00:00", **changes: Any) -> str:
    healthy = [{"image": "lab:1", "id": "a", "until": until}]
    return json.dumps({"version": 1, "server": 1, "images": {}, "healthy": healthy, "history": [], **changes})


def test_a_whole_state_is_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(whole())
    assert of(tmp_path).trouble is None and of(tmp_path).content["healthy"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"version": 9}',
        "null",
        "",
        whole("2026-01-01T00:00:00"),
        whole("x"),
        whole(images=5),
        whole(healthy={}),
    ],
)
def test_a_damaged_state_is_replaced_with_a_warning(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    one = of(tmp_path)
    assert one.trouble and "is written anew" in one.trouble and one.content["healthy"] == []


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """A file system of 64 KiB, which `fill` fills."""
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode
    ):
        pytest.skip("only root can mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(path: Path) -> None:
    with pytest.raises(OSError, match="No space"), (path / "ballast").open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * BLOCK)


def test_a_full_disk(full_disk: Path) -> None:
    one = of(full_disk)
    one.begin(None)
    fill(full_disk)
    one.step("pull", "pull lab:1")
    for number in range(200):
        one.warn(f"{number} {'x' * 100}")
    assert one.trouble is None
    content = json.loads((full_disk / "state.json").read_text())
    assert content["step"] == "pull" and len(content["warnings"]) < 200
    one.step("start", "lines of a log " * 2000)
    content = json.loads((full_disk / "state.json").read_text())
    assert one.trouble is None and content["step"] == "start" and content["message"].startswith("lines of a log")
    assert sorted(file.name for file in full_disk.iterdir()) == ["ballast", "state.json"]
    (full_disk / "state.json").unlink()
    (full_disk / "more").write_bytes(b"x" * BLOCK)
    one.finish("done", "", 0)
    assert one.trouble and "could not be written" in one.trouble


class Cli:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state_directory = folder / "var"
        self.settings = folder / "tao.json"
        self.content = {**CONTENT, "state_directory": str(self.state_directory), "account": "root"}
        self.state_directory.mkdir()
        monkeypatch.setattr(settings, "FOLDER", str(folder))
        monkeypatch.chdir(folder)  # main() goes to /

    def main(self, *arguments: str) -> int:
        self.settings.write_text(json.dumps(self.content))
        return program.main(["tao", *arguments])


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    if os.geteuid():
        pytest.skip("the account of these settings is root")
    return Cli(tmp_path, monkeypatch)


def test_the_lock(cli: Cli, capsys: Any) -> None:
    with (cli.state_directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli.main() == 3
    assert "another reset or a restore is running" in capsys.readouterr().err
    assert not (cli.state_directory / "state.json").exists()


@pytest.mark.parametrize(("seconds", "arguments", "ahead"), [(30, [], False), (30, ["--claimed"], True), (0, [], True)])
def test_a_playbook_keeps_resets_out_until_its_claim_ends(
    cli: Cli,
    capsys: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    arguments: list[str],
    ahead: bool,
) -> None:
    """What goes ahead fails here, where there is no engine."""
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")
    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", seconds))
    assert (cli.main(*arguments) == 3) is not ahead
    assert ("a playbook is changing the instance's containers" in capsys.readouterr().err) is not ahead
    assert (cli.state_directory / "state.json").exists() is ahead


def test_an_account_that_is_not_there(cli: Cli, capsys: Any) -> None:
    cli.content["account"] = "nobody-at-all"
    assert cli.main() == 2 and "there is no account nobody-at-all" in capsys.readouterr().err


def test_a_start_that_is_not_due_does_nothing(cli: Cli, capsys: Any) -> None:
    cli.content["at"] = None
    with (cli.state_directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # not even that another one runs
        assert cli.main("--scheduled") == 0
    assert capsys.readouterr() == ("", "") and not (cli.state_directory / "state.json").exists()


def test_a_start_for_a_set_time(cli: Cli) -> None:
    """Told in the state, and once only; without an engine the lead is not waited for."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=200)
    cli.content.update(at=f"{at:%H:%M}", timezone="Etc/UTC", socket=str(cli.state_directory / "docker.sock"))
    assert cli.main("--scheduled") == 5
    told = json.loads((cli.state_directory / "state.json").read_text())
    assert told["scheduled_for"] == f"{at:%Y-%m-%dT%H:%M}:00+00:00"
    assert cli.main("--scheduled") == 0
    assert json.loads((cli.state_directory / "state.json").read_text()) == told


def test_an_unknown_zone(cli: Cli, capsys: Any) -> None:
    cli.content["timezone"] = "Mars/Olympus"
    assert cli.main("--scheduled") == 2 and "Mars/Olympus" in capsys.readouterr().err


def test_without_an_engine(cli: Cli, capsys: Any) -> None:
    cli.content["socket"] = str(cli.state_directory / "docker.sock")
    assert cli.main() == 5
    assert json.loads((cli.state_directory / "state.json").read_text())["exit_code"] == 5


@pytest.mark.parametrize("arguments", [[], ["tao", "--people=ask"], ["a", "b"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2


def docker(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Engine("/run/x.sock", "/srv/tao", ["/srv/tao/compose.yaml"])


def test_the_docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = docker(tmp_path, 'echo "$@"; cat', monkeypatch)
    assert engine.docker("ps", text="in") == "--host unix:///run/x.sock ps\nin"
    files = "--project-directory /srv/tao --env-file /dev/null --file /srv/tao/compose.yaml"
    assert engine.compose("up") == f"--host unix:///run/x.sock compose {files} up\n"


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("docker.io/library/postgres:17", "postgres"),
        ("docker.io/jupyter/base-notebook:1", "jupyter/base-notebook"),
        ("index.docker.io/postgres", "postgres"),
        ("library/postgres@sha256:a", "postgres"),
        ("r.example:5000/library/lab:1.0", "r.example:5000/library/lab"),
        ("lab", "lab"),
    ],
)
def test_a_digest_is_found_whatever_the_image_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, repository: str
) -> None:
    listed = [{"Id": "sha256:a", "RepoDigests": ["other@sha256:b", f"{repository}@sha256:c"]}]
    found = docker(tmp_path, f"echo '{json.dumps(listed)}'", monkeypatch).image(reference)
    assert found and found.digest == "sha256:c"


def test_a_command_that_fails_and_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = docker(tmp_path, "seq 30; echo port is taken >&2; exit 17", monkeypatch)
    with pytest.raises(EngineError, match=r"exit code 17:\n17\n(.*\n)*port is taken"):
        engine.docker("up")
    engine = docker(tmp_path, "echo pulling; sleep 60 & wait", monkeypatch)
    with pytest.raises(EngineError, match="did not end within 1 s\npulling"):
        engine.docker("pull", timeout=1)


def test_the_lock_outlives_a_killed_reset_as_long_as_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docker still does for it must not meet the next reset."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        inherits = docker(tmp_path, f"test -e /proc/self/fd/{lock.fileno()} && echo yes", monkeypatch)
        inherits._inherited = (lock.fileno(),)
        assert inherits.docker("ps") == "yes\n"


def script(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notice_comes_and_goes(tmp_path: Path) -> None:
    notice, file = script(NOTICE), tmp_path / "RESET-NOTICE.txt"
    notice.add(str(tmp_path), "soon")
    notice.add(str(tmp_path), "now")
    assert file.read_text().startswith(notice.MARK) and file.read_text().endswith("\nnow\n")
    notice.remove(str(tmp_path))
    notice.remove(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_notice_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    notice, file, target = script(NOTICE), tmp_path / "RESET-NOTICE.txt", tmp_path / "target"
    file.write_text("mine")
    notice.add(str(tmp_path), "soon")
    notice.remove(str(tmp_path))
    assert file.read_text() == "mine"
    for content in (None, notice.MARK):
        file.unlink()
        file.symlink_to(target)
        if content:
            target.write_text(content)
        notice.add(str(tmp_path), "soon")
        notice.remove(str(tmp_path))
        assert file.is_symlink() and (target.read_text() if content else None) == content
    file.unlink()
    os.mkfifo(file)
    notice.add(str(tmp_path), "soon")
    assert file.is_fifo()


def test_the_notice_appears_in_terminals() -> None:
    leader, follower = os.openpty()
    folder, name = os.path.split(os.ttyname(follower))
    if not name.isdigit():
        pytest.skip("terminals have other names here")
    script(NOTICE).terminals("soon", folder)
    assert b"*** soon" in os.read(leader, 100)
    os.close(leader)
    os.close(follower)


def test_the_token_is_exchanged_in_place(tmp_path: Path) -> None:
    config, secret = tmp_path / "jupyter_server_config.json", tmp_path / "cookie_secret"
    config.write_text(json.dumps({"ServerApp": {"token": "old", "port": 1}, "IdentityProvider": {"token": "old"}}))
    inode = config.stat().st_ino
    assert rotate.exchange(str(tmp_path), {}) == {"token": "old", "cookie_secret": None}
    secret.write_text("long secret\n")
    before = rotate.exchange(str(tmp_path), {"token": "new", "cookie_secret": "short"})
    assert before == {"token": "old", "cookie_secret": "long secret\n"}
    assert json.loads(config.read_text())["IdentityProvider"] == {"token": "new"}
    assert json.loads(config.read_text())["ServerApp"] == {"token": "new", "port": 1}
    assert secret.read_text() == "short" and config.stat().st_ino == inode
    assert rotate.exchange(str(tmp_path), before) == {"token": "new", "cookie_secret": "short"}
    assert secret.read_text() == "long secret\n"


def test_padding() -> None:
    assert len(state.padded({})) == 4 * BLOCK and len(state.padded({}, 7 * BLOCK)) == 7 * BLOCK


RECORD = {"state": "present", "port": 8801, "second_port": 8802, "url": "https://example.org/tao/"}


def with_record(folder: Path, content: dict[str, Any] | None, **changes: Any) -> settings.Settings:
    if content is not None:
        (folder / "instance.json").write_text(json.dumps(content))
    return settings.of({**CONTENT, "state_directory": str(folder / "reset"), **changes})


def test_the_deployed_ports_and_url_count_and_not_those_of_a_failed_run(tmp_path: Path) -> None:
    """The settings are written before the instance, whose deployment may fail."""
    ahead = with_record(tmp_path, RECORD, ports=[8811, 8812], url="https://new.example.org/", base_url="/")
    found = deployed.as_deployed(ahead)
    assert (found.ports, found.url, found.base_url) == ([8801, 8802], "https://example.org/tao/", "/tao/")
    hub = with_record(tmp_path, {**RECORD, "second_port": None, "url": "https://h.example"}, kind="hub", ports=[8811])
    found = deployed.as_deployed(hub)
    assert (found.ports, found.base_url) == ([8801], "/")


@pytest.mark.parametrize("content", [None, {"state": "present"}, {**RECORD, "port": None, "url": None}])
def test_without_a_record_the_settings_count(tmp_path: Path, content: dict[str, Any] | None) -> None:
    given = with_record(tmp_path, content)
    assert deployed.as_deployed(given) == given


@pytest.mark.parametrize("content", [[], {}, {"state": 1}, None])
def test_a_record_that_is_damaged(tmp_path: Path, content: Any) -> None:
    (tmp_path / "instance.json").write_text(json.dumps(content))
    with pytest.raises(jobs.SettingsError, match=r"instance\.json: .*run the site playbook again"):
        deployed.as_deployed(with_record(tmp_path, None))
