# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, as root, on real files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import claims, files, install

from testbed import leftovers
from testbed.patience import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")


def run(module: str = "install_files", check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module the way Ansible does and return its result."""
    name = f"ansible_collections.carrel.jupyter.plugins.modules.{module}"
    arguments.update(_ansible_check_mode=check, _ansible_diff=True)
    code = (
        "import json, runpy, sys\n"
        "from ansible.module_utils import basic\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        f"with patch_module_args(json.loads(sys.argv[1])): runpy.run_module({name!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def four_runs(module: str = "install_files", **arguments: Any) -> None:
    """Check, real, check, real: the first two change, the others do not."""
    assert [run(module, check, **arguments).get("changed") for check in (True, False, True, False)] == [
        True,
        True,
        False,
        False,
    ]


def test_directories_and_files(tmp_path: Path) -> None:
    arguments = {
        "directories": [
            {"path": f"{tmp_path}/a", "mode": "0711"},
            {"path": f"{tmp_path}/a/leaf", "owner": 12345, "group": 54321, "mode": "0750"},
        ],
        "files": [{"path": f"{tmp_path}/a/file", "content": "text", "owner": 12345, "mode": "0640"}],
    }
    assert run(check=True, **arguments)["changed"]
    assert not (tmp_path / "a").exists()
    four_runs(**arguments)
    leaf, file = (tmp_path / "a" / name for name in ("leaf", "file"))
    assert (leaf.stat().st_uid, leaf.stat().st_gid, stat.S_IMODE(leaf.stat().st_mode)) == (12345, 54321, 0o750)
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode), file.read_text()) == (12345, 0o640, "text")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["file", "leaf"]


def test_a_directory_of_root_gets_the_group_of_the_account_s_next_one(tmp_path: Path) -> None:
    """An account that was made again may have another id, and its group another one."""
    leaf = tmp_path / "page"
    leaf.mkdir(0o700)
    (leaf / "socket").touch(0o600)
    os.chown(leaf / "socket", 4711, 4711)
    for group in (4711, 12345):
        four_runs(directories=[{"path": str(leaf), "group": group, "mode": "0750"}])
        assert (leaf.stat().st_uid, leaf.stat().st_gid, stat.S_IMODE(leaf.stat().st_mode)) == (0, group, 0o750)
    assert (leaf / "socket").stat().st_gid == 4711


@pytest.mark.parametrize(("uid", "gid"), [(12345, 4711), (4711, 0), (0, 12345)])
def test_a_directory_of_an_account_keeps_its_owner_and_group(tmp_path: Path, uid: int, gid: int) -> None:
    leaf = tmp_path / "leaf"
    leaf.mkdir()
    os.chown(leaf, uid, gid)
    wanted = {"path": str(leaf), "owner": 0 if uid == 4711 else 12345, "group": 12345}
    assert run(directories=[wanted])["failed"]
    assert (leaf.stat().st_uid, leaf.stat().st_gid) == (uid, gid)


def test_a_foreign_directory_is_reported_and_left_alone(tmp_path: Path) -> None:
    leaf = tmp_path / "leaf"
    leaf.mkdir()
    os.chown(leaf, 4711, 4711)
    result = run(directories=[{"path": str(leaf), "owner": 12345, "group": 12345}])
    assert result["failed"] and "belongs to 4711:4711, not to 12345:12345" in result["msg"]
    assert leaf.stat().st_uid == 4711


@pytest.mark.parametrize("kind", ["directory", "file", "parent"])
def test_a_link_is_never_followed(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(victim if kind != "file" else victim / "file")
    wanted: dict[str, Any] = {
        "directory": {"directories": [{"path": str(link), "owner": 12345}]},
        "file": {"files": [{"path": str(link), "content": "new"}]},
        "parent": {"files": [{"path": f"{link}/file", "content": "new"}]},
    }[kind]
    result = run(**wanted)
    assert result["failed"] and "symbolic link" in result["msg"]
    assert (victim.stat().st_uid, (victim / "file").read_text()) == (0, "old")


def test_the_owner_of_a_leaf_may_change_its_mode(tmp_path: Path) -> None:
    leaf = {"path": f"{tmp_path}/leaf", "owner": 12345, "mode": "0750"}
    run(directories=[leaf])
    (tmp_path / "leaf").chmod(0o700)
    assert not run(directories=[leaf])["changed"]


def test_the_mode_of_roots_directory_is_kept(tmp_path: Path) -> None:
    parent = {"path": f"{tmp_path}/parent", "mode": "0711"}
    run(directories=[parent])
    (tmp_path / "parent").chmod(0o777)
    four_runs(directories=[parent])
    assert stat.S_IMODE((tmp_path / "parent").stat().st_mode) == 0o711


def test_a_secret_is_nowhere_in_the_result(tmp_path: Path) -> None:
    path = f"{tmp_path}/.env"
    result = run(files=[{"path": path, "mode": "0600"}], secret_contents={path: "PASSWORD='hunter2'\n"})
    assert result["changed"] and "hunter2" not in json.dumps(result)
    assert (tmp_path / ".env").read_text() == "PASSWORD='hunter2'\n"
    again = run(files=[{"path": path, "mode": "0600"}], secret_contents={path: "PASSWORD='hunter3'\n"})
    head = f"# {os.getuid()}:{os.getgid()} 0600\n"
    shown = [(diff["before"], diff["after"]) for diff in again["diff"]]
    assert shown == [(f"{head}(secret)\n", f"{head}(secret, new)\n")]


def test_a_file_has_one_content(tmp_path: Path) -> None:
    path = f"{tmp_path}/.env"
    for wrong in (
        {"files": [{"path": path}]},
        {"files": [{"path": path, "content": ""}], "secret_contents": {path: ""}},
    ):
        answer = run(**wrong)
        assert answer["failed"] and f"{path} needs either content or an entry in secret_contents" in answer["msg"]
    assert list(tmp_path.iterdir()) == []


def test_absent(tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("")
    four_runs(absent=[f"{tmp_path}/gone"])
    assert not (tmp_path / "gone").exists()


@pytest.fixture(scope="session", autouse=True)
def no_folders_left() -> Iterator[None]:
    yield
    leftovers.remove_empty()


def test_archive_moves_everything_and_frees_the_name(tmp_path: Path) -> None:
    instance = tmp_path / "tao"
    (instance / "data").mkdir(parents=True)
    (instance / "data" / "kept").write_text("kept")
    os.chown(instance / "data" / "kept", 12345, 12345)
    instance_name = f"archive-tests-{os.getpid()}"
    resets = Path(f"/var/lib/carrel/{instance_name}/reset")
    backups = resets.parent / "backup"
    for folder in (resets, backups):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "leaves"):
        (backups / f"{name}.json").write_text(name)
    (resets / "second").symlink_to(tmp_path)
    page = resets.parent / "page"
    page.mkdir(0o750)
    os.chown(page, 0, 12345)
    (page / "socket").touch()
    for name in ("instance", "image", "before", "smoked", "deployed", "made_anew"):
        (resets.parent / f"{name}.json").write_text(json.dumps({"directory": str(instance)}))
    try:
        four_runs("instance_archive", name=instance_name, directory=str(instance))
        assert list(resets.parent.iterdir()) == [backups] and list(backups.iterdir()) == []
    finally:
        shutil.rmtree(resets.parent, ignore_errors=True)
    for name in ("state", "leaves"):
        (file,) = (tmp_path / ".archive").glob(f"{instance_name}-*/.backup/{name}.json")
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (name, 0o600)
    (kept,) = (tmp_path / ".archive").glob(f"{instance_name}-*/data/kept")
    assert (kept.read_text(), kept.stat().st_uid) == ("kept", 12345)
    assert stat.S_IMODE((tmp_path / ".archive").stat().st_mode) == 0o700


def test_archive_removes_the_state_of_resets_however_deep_it_is(tmp_path: Path) -> None:
    """An account may make thousands of directories in each other."""
    name = f"deep-tests-{os.getpid()}"
    resets = Path(f"/var/lib/carrel/{name}/reset")
    resets.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(resets, os.O_RDONLY)
    for _unused in range(6000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        four_runs("instance_archive", name=name, directory=str(tmp_path / "gone"))
        assert not resets.parent.exists()
    finally:
        subprocess.run(["rm", "-rf", resets.parent], check=True)


@pytest.fixture
def recorded() -> Iterator[Path]:
    """The record of an instance, without a directory, as some of version 0.1.0 that were repaired by hand."""
    record = Path(f"/var/lib/carrel/record-tests-{os.getpid()}/instance.json")
    record.parent.mkdir(parents=True)
    record.write_text('{"directory": null}')
    yield record
    shutil.rmtree(record.parent, ignore_errors=True)


def test_archive_refuses_a_folder_of_somebody_else(tmp_path: Path, recorded: Path) -> None:
    (tmp_path / "tao").mkdir()
    (tmp_path / ".archive").mkdir()
    os.chown(tmp_path / ".archive", 12345, 12345)
    for check in (True, False):
        refused = run("instance_archive", check, name=recorded.parent.name, directory=str(tmp_path / "tao"))
        assert refused["failed"] and "12345:12345 but must belong to root" in refused["msg"]
    assert (tmp_path / "tao").exists()


@pytest.mark.parametrize("left", ["", "image.json", "backup/state.json"])
def test_archive_leaves_a_directory_that_no_record_names(tmp_path: Path, left: str) -> None:
    name = f"foreign-tests-{os.getpid()}"
    state = Path(f"/var/lib/carrel/{name}")
    (tmp_path / "shiny").mkdir()
    (tmp_path / "shiny" / "compose.yaml").write_text("of somebody else")
    if left:
        (state / left).parent.mkdir(parents=True)
        (state / left).write_text("{}")
    try:
        for check in (True, False):
            answer = run("instance_archive", check, name=name, directory=str(tmp_path / "shiny"))
            assert (answer["changed"], answer["archive"]) == (bool(left), "")
            assert f"{tmp_path}/shiny stays as it is" in str(answer["warnings"])
            assert [path.name for path in tmp_path.rglob("*")] == ["shiny", "compose.yaml"]
        assert not (state / left).is_file()
    finally:
        shutil.rmtree(state, ignore_errors=True)


@pytest.mark.parametrize("content", ['{"directory": "/srv/other"}', "{", "[]"])
def test_archive_refuses_what_the_record_does_not_name(tmp_path: Path, recorded: Path, content: str) -> None:
    recorded.write_text(content)
    answer = run("instance_archive", name=recorded.parent.name, directory=str(tmp_path))
    assert answer["failed"] and "was not archived: " in answer["msg"]
    assert recorded.read_text() == content and tmp_path.is_dir()


def test_an_instance_is_claimed_once_its_reset_has_ended() -> None:
    name = f"claim-tests-{os.getpid()}"
    folder, settings = Path(f"/var/lib/carrel/{name}/reset"), Path(f"/etc/carrel/reset/{name}.json")
    for needed in (folder, settings.parent):
        needed.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"pull_timeout_seconds": 0, "start_timeout_seconds": -118, "drain_seconds": 0}))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not run("instance_claim", check=True, name=name)["changed"] and claims.claimant(name) is None
            late = run("instance_claim", name=name)
            assert late["failed"] and "has not ended within 2 s; nothing was changed" in late["msg"]
            assert claims.claimant(name) is None
            # The reset sees the claim while the playbook waits for it.
            settings.unlink()
            with ThreadPoolExecutor() as threads:
                waiting = threads.submit(run, "instance_claim", name=name)
                until(lambda: claims.claimant(name) == "a playbook", "the instance is claimed")
                assert not waiting.done()
                fcntl.flock(lock, fcntl.LOCK_UN)
                assert waiting.result()["waited_seconds"] >= 0
        assert claims.claimant(name) == "a playbook"
        assert not run("instance_claim", check=True, name=name)["second"]
        (folder / "second").touch()
        assert run("instance_claim", check=True, name=name)["second"]
        assert "failed" not in run("instance_claim", name=name, state="free") and claims.claimant(name) is None
        (folder / "state.json").write_text(json.dumps({"healthy": [{"image": "a:1", "id": f"sha256:{'a' * 64}"}]}))
        assert run("instance_claim", name=name, healthy=True)["healthy"] == [f"sha256:{'a' * 64}"]
        assert "healthy" not in run("instance_claim", name=name)
        # What the account puts there is not opened.
        for file in ("lock", "state.json"):
            (folder / file).unlink()
            os.mkfifo(folder / file)
        assert run("instance_claim", name=name, seconds=0, healthy=True)["healthy"] == []
        assert claims.claimant(name) is None
    finally:
        shutil.rmtree(folder.parent)
        settings.unlink(missing_ok=True)
        Path(claims.FILE.format(name)).unlink(missing_ok=True)


def test_no_claim_leaves_its_folder() -> None:
    assert "not a name for an instance" in run("instance_claim", name="../passwd")["msg"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home" / ".docker"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree("/run/carrel/docker/tao-of-the-login-tests", ignore_errors=True)


def copy_login(home: Path, check: bool = False) -> dict[str, Any]:
    return run("docker_login_copy", check, name="tao-of-the-login-tests", home=str(home.parent))


def test_log_ins_are_copied_without_what_root_would_run(home: Path) -> None:
    auths = {"r.example": {"auth": "c2VjcmV0", "email": 5, "username": ["x"]}, "empty": {}, "none": None}
    (home / "config.json").write_text(json.dumps({"auths": auths, "credsStore": "../evil", "currentContext": "evil"}))
    copied = copy_login(home)
    assert not copied["changed"] and "credential helpers" in str(copied["warnings"])
    file = Path(copied["directory"]) / "config.json"
    assert json.loads(file.read_text()) == {"auths": {"r.example": {"auth": "c2VjcmV0"}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "c2VjcmV0" not in json.dumps(copied)
    (home / "config.json").unlink()
    assert not copy_login(home, check=True)["changed"] and "c2VjcmV0" in file.read_text()
    copy_login(home)
    assert json.loads(file.read_text()) == {"auths": {}}


@pytest.mark.parametrize("trap", ["pipe", "endless", "link", "folder", "[]", '{"auths": 1}', "{", "[" * 100_000])
def test_a_trap_as_an_accounts_log_ins(home: Path, trap: str) -> None:
    file = home / "config.json"
    if trap == "pipe":
        os.mkfifo(file)
    elif trap == "endless":
        with file.open("wb") as stream:
            stream.truncate(200 * 10**9)
    elif trap == "link":
        file.symlink_to("/etc/shadow")
    elif trap == "folder":
        home.rmdir()
        home.symlink_to("/root")
        (home.parent / "root").mkdir()
    else:
        file.write_text(trap)
    refused = copy_login(home)
    assert refused["failed"] and "log-ins of tao-of-the-login-tests cannot be read" in refused["msg"]


def test_archive_refuses_a_link(tmp_path: Path, recorded: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "tao").symlink_to(tmp_path / "victim")
    assert run("instance_archive", name=recorded.parent.name, directory=str(tmp_path / "tao"))["failed"]
    assert (tmp_path / "victim").exists()


def test_a_link_that_leads_elsewhere_is_put_right(tmp_path: Path) -> None:
    """A unit is enabled by a link to itself alone."""
    link, unit = tmp_path / "default.target.wants" / "a.service", f"{tmp_path}/a.service"

    def ensure(check: bool = False) -> bool:
        tracker = Tracker()
        assert install.ensure_link(str(link), unit, tracker, check) == tracker.changed
        return tracker.changed

    assert ensure(check=True) and not link.parent.exists()
    assert ensure() and not ensure() and os.readlink(link) == unit
    for other, changes in (("/dev/null", True), ("../b.service", True), ("../a.service", False)):
        link.unlink()
        link.symlink_to(other)
        assert ensure(check=True) == changes and os.readlink(link) == other
        assert ensure() == changes and os.path.normpath(link.parent / os.readlink(link)) == unit
    link.unlink()
    link.touch()
    with pytest.raises(files.UnsafePathError, match="is not a symbolic link: move it away"):
        ensure()
