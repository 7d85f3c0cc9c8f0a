# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""user_volumes with backend: volumes, against the real engine of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import module_runner
import pytest

UID, GID = 1000, 100
SOCKET = "/var/run/docker.sock"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners of volumes are set by root")


def docker(*command: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *command], capture_output=True, text=True, check=check)
    return done.stdout.strip()


@pytest.fixture
def prefix() -> Iterator[str]:
    name = f"hub{secrets.token_hex(4)}"
    yield name
    if left := [volume for volume in volumes("") if volume.startswith(name)]:
        docker("volume", "rm", "--force", *left)


def volumes(prefix: str) -> list[str]:
    return sorted(name for name in docker("volume", "ls", "--format", "{{.Name}}").split() if name.startswith(prefix))


def place(volume: str) -> Path:
    return Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume))


def owner(volume: str) -> tuple[int, int, int]:
    status = place(volume).stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


def labels(volume: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(docker("volume", "inspect", "--format", "{{json .Labels}}", volume))
    return found


def parameters(prefix: str, *users: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    listed = [{"name": user} if isinstance(user, str) else user for user in users]
    fixed = {"backend": "volumes", "socket": SOCKET, "prefix": prefix, "uid": UID, "gid": GID}
    return {**fixed, "users": listed, **more}


def run(prefix: str, *users: str | dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
    return module_runner.run("user_volumes", parameters(prefix, *users, **more), check)


def four_runs(prefix: str, *users: str | dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return module_runner.four_runs("user_volumes", parameters(prefix, *users, **more))


def test_volumes_are_created_once(prefix: str) -> None:
    answers = four_runs(
        prefix, "ada@uni.example", "bob", directories=[{"name": "home"}, {"name": "lab", "mode": "2750"}]
    )
    ada = f"{prefix}_ada-40uni-2eexample"
    assert volumes(prefix) == [f"{ada}_home", f"{ada}_lab", f"{prefix}_bob_home", f"{prefix}_bob_lab"]
    assert owner(f"{ada}_home") == (UID, GID, 0o700) and owner(f"{ada}_lab") == (UID, GID, 0o2750)
    assert labels(f"{ada}_home") == {"carrel.instance": prefix, "carrel.user": "ada@uni.example"}
    assert answers[3]["directories"]["ada@uni.example"] == ada
    assert f"{ada}_lab {UID}:{GID} 2750\n" in answers[1]["diff"][0]["after"]


def test_as_ansible_runs_it(prefix: str) -> None:
    ansible_runner.four_runs("user_volumes", parameters(prefix, "ada"))
    assert len(volumes(prefix)) == 2


def test_check_mode_makes_nothing(prefix: str) -> None:
    assert run(prefix, "ada", check=True)["changed"] and volumes(prefix) == []


def test_the_container_s_root_can_own_them(prefix: str) -> None:
    four_runs(prefix, "ada", uid=0, gid=0)
    assert owner(f"{prefix}_ada_home") == (0, 0, 0o700)


@pytest.mark.parametrize("target", ["/home/jovyan/work", "/not/in/the/image"])
def test_a_container_s_user_writes_in_it_and_it_stays_the_user_s(prefix: str, target: str) -> None:
    run(prefix, "ada")
    mount = f"type=volume,source={prefix}_ada_home,target={target},volume-nocopy"
    image = os.environ["CARREL_TEST_LAB_IMAGE"]
    docker("run", "--rm", f"--user={UID}:{GID}", "--mount", mount, "--entrypoint=touch", image, f"{target}/mine")
    assert (place(f"{prefix}_ada_home") / "mine").stat().st_uid == UID
    assert owner(f"{prefix}_ada_home") == (UID, GID, 0o700)
    assert run(prefix, "ada")["changed"] is False


def test_what_docker_made_itself_is_completed(prefix: str) -> None:
    """A server that was started before the module ran; also what a run leaves that is killed."""
    docker("volume", "create", f"{prefix}_ada_home")
    assert owner(f"{prefix}_ada_home")[0] == 0
    four_runs(prefix, "ada")
    assert owner(f"{prefix}_ada_home") == (UID, GID, 0o700)


def test_what_the_owner_may_change_stays_changed(prefix: str) -> None:
    run(prefix, "ada")
    place(f"{prefix}_ada_home").chmod(0o755)
    assert run(prefix, "ada")["changed"] is False


def test_others_are_reported_and_left_alone(prefix: str) -> None:
    docker("volume", "create", "--label", "com.docker.compose.project=x", f"{prefix}_ada_home")
    docker("volume", "create", f"{prefix}_bob_home")
    (place(f"{prefix}_bob_home") / "file").touch()
    answer = run(prefix, "ada", "bob", "eve")
    assert answer["failed"] and len(answer["problems"]) == 2
    assert "labels" in answer["problems"][0] and "chown" in answer["problems"][1]
    assert owner(f"{prefix}_ada_home")[0] == owner(f"{prefix}_bob_home")[0] == 0
    assert owner(f"{prefix}_eve_home") == (UID, GID, 0o700)
    gone = run(prefix, *({"name": name, "state": "absent"} for name in ("ada", "bob")), purge=True)
    assert gone["deleted"] == ["ada", "bob"]
    assert [name for name in volumes(prefix) if "_eve_" not in name] == [f"{prefix}_ada_home"]


def test_users_who_left_are_archived_and_namesakes_get_nothing(prefix: str) -> None:
    run(prefix, "ada", "bob")
    (place(f"{prefix}_bob_home") / "thesis").write_text("42")
    docker("volume", "create", "--label", "com.docker.compose.project=x", f"{prefix}_hub_data")
    answers = four_runs(prefix, "ada", prune="archive")
    assert answers[0]["not_listed"] == ["bob"]
    left = [name for name in volumes(prefix) if "_bob_" in name]
    assert ", ".join(left) == answers[1]["archived"]["bob"] and len(left) == 2
    assert (place(left[0]) / "thesis").read_text() == "42" and owner(left[0]) == (UID, GID, 0o700)
    assert labels(left[0])["carrel.user"] == "bob" and labels(left[0])["carrel.archived"] in left[0]
    assert f"{prefix}_hub_data" in volumes(prefix)
    four_runs(prefix, "ada", "bob")
    assert list(place(f"{prefix}_bob_home").iterdir()) == []
    four_runs(prefix, "ada", {"name": "bob", "state": "absent"}, purge=True)
    assert [name for name in volumes(prefix) if "_bob_" in name] == left


def test_an_archive_that_was_interrupted_is_completed(prefix: str) -> None:
    run(prefix, "bob")
    place(f"{prefix}_bob_home").rmdir()
    assert run(prefix, {"name": "bob", "state": "archived"})["changed"]
    assert not {f"{prefix}_bob_home", f"{prefix}_bob_settings"} & set(volumes(prefix))
    run(prefix, "bob")
    place(f"{prefix}_bob_home").rmdir()
    four_runs(prefix, "bob")
    assert owner(f"{prefix}_bob_home") == (UID, GID, 0o700)


def test_nothing_is_deleted_without_purge(prefix: str) -> None:
    run(prefix, "ada")
    assert "purge: true" in run(prefix, {"name": "ada", "state": "absent"})["msg"]
    assert len(volumes(prefix)) == 2


@pytest.mark.parametrize("state", ["absent", "archived"])
def test_what_a_container_has_is_left_alone(prefix: str, state: str) -> None:
    run(prefix, "ada", "bob")
    image, name = os.environ["CARREL_TEST_LAB_IMAGE"], f"{prefix}-ada"
    docker("create", "--name", name, "--volume", f"{prefix}_ada_home:/mnt", image)
    try:
        answer = run(prefix, *({"name": user, "state": state} for user in ("ada", "bob")), purge=True)
        assert answer["failed"] and "stop the user's server" in answer["msg"]
        assert f"{prefix}_ada_home" in volumes(prefix) and f"{prefix}_bob_home" not in volumes(prefix)
    finally:
        docker("rm", name)


def test_somebody_else_with_the_same_name_gets_new_ones(prefix: str, tmp_path: Path) -> None:
    """Once the old server is gone: a volume that a container has cannot be archived, and is given to nobody."""
    (tmp_path / "hub").mkdir()
    image, name = os.environ["CARREL_TEST_LAB_IMAGE"], f"{prefix}-ann"
    first, second = ({"name": "ann", "identity": f"anna.{who}@uni"} for who in ("schmidt", "mueller"))
    four_runs(prefix, first, hub_directory=str(tmp_path))
    (place(f"{prefix}_ann_home") / "thesis").write_text("Schmidt's")
    docker("create", "--name", name, "--volume", f"{prefix}_ann_home:/mnt", image)
    try:
        answer = run(prefix, second, hub_directory=str(tmp_path))
        assert answer["failed"] and "stop the user's server" in answer["msg"]
        assert "mueller" not in (tmp_path / "hub" / "identities.json").read_text()
    finally:
        docker("rm", name)
    four_runs(prefix, second, hub_directory=str(tmp_path))
    assert list(place(f"{prefix}_ann_home").iterdir()) == []
    (archive,) = [volume for volume in volumes(prefix) if ".archived-" in volume and "_home" in volume]
    assert (place(archive) / "thesis").read_text() == "Schmidt's"


def test_what_somebody_else_left_is_deleted_in_time(prefix: str, tmp_path: Path) -> None:
    """The time begins with the decision that it is somebody else's."""
    (tmp_path / "hub").mkdir()
    ann = {"name": "ann", "identity": "anna@uni"}
    options = {"prune": "archive", "delete_after_days": 10, "hub_directory": str(tmp_path)}
    run(prefix, ann, **options)
    of_users = [f"{prefix}_{user}_home.archived-20260101T000000Z" for user in ("ann", "eve")]
    for user, volume in zip(("ann", "eve"), of_users, strict=True):
        given = {"carrel.instance": prefix, "carrel.user": user, "carrel.archived": "20260101T000000Z"}
        docker("volume", "create", *(f"--label={key}={value}" for key, value in given.items()), volume)
    assert run(prefix, ann, **options)["deleted"] == ["eve"], "nobody lists her"
    record = tmp_path / "hub" / "identities.json"
    for days, left in ((0, of_users[:1]), (11, [])):
        users = {"ann": {"identity": "anna@uni", "since": int(time.time()) - days * 86400}}
        record.write_text(json.dumps({"version": 1, "users": users}))
        run(prefix, ann, **options)
        assert [volume for volume in volumes(prefix) if ".archived-" in volume] == left


def test_a_new_hub_gets_and_deletes_nothing_of_an_earlier_one(prefix: str, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "hub").mkdir(parents=True)
    old, new = ({"hub_directory": str(tmp_path / name)} for name in ("old", "new"))
    run(prefix, {"name": "ada", "identity": "ada@uni"}, "bob", **old)
    (place(f"{prefix}_ada_home") / "thesis").write_text("42")
    stamp = "20260101T000000Z"
    given = {"carrel.instance": prefix, "carrel.user": "eve", "carrel.archived": stamp}
    archived = f"{prefix}_eve_home.archived-{stamp}"
    docker("volume", "create", *(f"--label={key}={value}" for key, value in given.items()), archived)
    before = volumes(prefix)
    for check in (True, False):
        options = {"prune": "archive", "delete_after_days": 1}
        answer = run(prefix, {"name": "ada", "identity": "ada@new"}, check=check, **new, **options)
        assert answer["failed"] and f"{prefix}_ada_home" in answer["msg"] and archived in answer["msg"]
        assert volumes(prefix) == before and not (tmp_path / "new" / "hub" / "identities.json").exists()
    # Its directory is back.
    back = run(prefix, {"name": "ada", "identity": "ada@uni"}, "bob", **old)
    assert not back["changed"] and (place(f"{prefix}_ada_home") / "thesis").read_text() == "42"
    # Or its volumes are deleted.
    docker("volume", "rm", *before)
    four_runs(prefix, {"name": "ada", "identity": "ada@new"}, **new)
    assert list(place(f"{prefix}_ada_home").iterdir()) == []


def test_bad_input_and_no_engine(prefix: str) -> None:
    assert "prefix" in run("Hub_1", "ada")["msg"]
    assert "too long" in run(prefix, "n" * 225)["msg"]
    assert "does not answer" in run(prefix, "ada", socket="/nowhere.sock")["msg"]
    assert "socket" in module_runner.run("user_volumes", {"backend": "volumes", "users": [{"name": "ada"}]})["msg"]


@contextlib.contextmanager
def account(uid: int) -> Iterator[str]:
    """An account of an engine that is not the one asked."""
    name = f"carrel-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--uid", str(uid), "--add-subids-for-system", "--no-create-home", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True)


def test_an_engine_cannot_make_root_touch_what_is_not_the_account_s(prefix: str) -> None:
    run(prefix, "ada")
    docker("volume", "create", f"{prefix}_bob_home")
    with account(4712) as name:
        answer = run(prefix, "ada", "bob", account=name)
    assert answer["failed"] and "not to 4712" in answer["msg"]
    assert owner(f"{prefix}_bob_home")[0] == 0
