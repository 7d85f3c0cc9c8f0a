# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purge deletes, on real files; an account needs a host: tests/e2e/test_lifecycle.py."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import subordinate_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, purge
from ansible_collections.carrel.jupyter.plugins.module_utils._site import purge as _purge
from test_install_files import four_runs, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="archives are root's")
STAMP = "20261122T230102Z"


def test_only_the_instance_s_own_archives_count() -> None:
    others = [f"tao-2-{STAMP}", f"xtao-{STAMP}", "tao-", f"tao-{STAMP}.old", "tao-kept", f"tao.-{STAMP}"]
    assert _purge.archives("tao", [f"tao-{STAMP}", *others]) == [f"tao-{STAMP}"]


@pytest.mark.parametrize(
    ("instances", "others", "said"),
    [
        ({"tao": {"engine": "tao"}}, [], "tao is on this host"),
        ({"atlas": {"engine": "tao"}}, [], "atlas is on this host"),
        ({}, [f"atlas-{STAMP}"], f"the archive atlas-{STAMP} has files of the account tao"),
        ({"atlas": {"engine": "atlas"}, "geo": {}}, [], None),
    ],
)
def test_whatever_is_still_needed_is_kept(instances: dict[str, Any], others: list[str], said: str | None) -> None:
    found = _purge.problems("tao", instances, others)
    assert found == [] if said is None else len(found) == 1 and found[0].startswith(said)


def test_archives_are_deleted_and_targets_of_links_are_not(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    archive = tmp_path / "base" / ".archive"
    mine, other = archive / f"unit-tests-tao-{STAMP}", archive / f"unit-tests-tao2-{STAMP}"
    for folder in (mine, other):
        (folder / "data").mkdir(parents=True)
    (mine / "data" / "file").symlink_to(tmp_path / "victim")
    (mine / "data" / "folder").symlink_to(tmp_path)
    os.chown(mine / "data", 12345, 12345)
    four_runs("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path / "base"))
    assert os.listdir(archive) == [other.name]
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_link_in_an_archive_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").touch()
    (tmp_path / ".archive").mkdir()
    (tmp_path / ".archive" / f"unit-tests-tao-{STAMP}").symlink_to(tmp_path / "victim")
    run("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path))
    assert (tmp_path / "victim" / "file").exists()


def test_nothing_is_deleted_before_it_is_archived(tmp_path: Path) -> None:
    archived = tmp_path / ".archive" / f"unit-tests-tao-{STAMP}"
    archived.mkdir(parents=True)
    (tmp_path / "unit-tests-tao").mkdir()
    answer = run("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path))
    assert answer["failed"] and "unit-tests-tao is not archived yet" in answer["msg"]
    assert archived.exists()


def test_an_account_without_an_engine_is_not_touched(tmp_path: Path) -> None:
    for name in ("root", "daemon"):
        assert run("instance_purge", name=name, base_dir=str(tmp_path))["changed"] is False


@pytest.mark.parametrize("name", ["", ".", "tao/.", "../etc", "Tao", "tao\n", "t" * 32])
def test_what_is_no_instance_s_name_is_refused(tmp_path: Path, name: str) -> None:
    """As a part of a path it would lead to all instances, or to another one's files."""
    for module, more in (
        ("instance_purge", {"base_dir": str(tmp_path)}),
        ("instance_archive", {"directory": f"{tmp_path}/tao"}),
        ("instance_backup", {}),
        ("instance_claim", {"seconds": 60}),
        ("instance_reset", {}),
        ("instance_snapshots", {}),
    ):
        answer = run(module, name=name, **more)
        assert answer["failed"] and answer["msg"] == f"{name!r} is not a name for an instance", module


ROOT = Path(__file__).resolve().parents[2]
UID = 12345


class Host:
    """Real directories, and an account that the tests only say is there: this machine's are not theirs to make."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, comment: str) -> None:
        self.home, self.archive, self.root = (folder / name for name in ("home/tao", "srv/.archive", "docker/tao"))
        self.engine = folder / "etc" / "tao"
        self.comment, self.commands = comment, list[str]()
        for path in (self.home, self.root, self.engine, self.archive / f"tao-{STAMP}"):
            path.mkdir(parents=True)
        for path in (self.home, self.root):
            (path / "file").touch()
            os.chown(path, UID, UID)
        self.configure(self.root)
        self.backups = folder / "state" / "tao" / "backup"
        self.backups.mkdir(parents=True)
        (self.backups / "state.json").touch()
        patch.setattr(purge, "ENGINES", str(self.engine.parent))
        patch.setattr(purge, "STATE", str(folder / "state"))
        patch.setattr(purge, "LOG_INS", str(folder / "docker-log-ins"))
        for kind in ("uid", "gid"):
            (folder / kind).write_text("other:200000:65536\ntao:300000:65536\n")
            patch.setitem(subordinate_ids.FILES, kind, str(folder / kind))
        patch.setattr(pwd, "getpwnam", lambda name: self.account())
        patch.setattr(purge, "run", lambda *command: self.commands.append(" ".join(command)))

    def account(self) -> pwd.struct_passwd:
        return pwd.struct_passwd(("tao", "x", UID, UID, self.comment, str(self.home), "/bin/bash"))

    def configure(self, data_root: Path) -> None:
        (self.engine / "daemon.json").write_text(f'{{"data-root": "{data_root}"}}')

    def purge(self, check_mode: bool = False) -> tuple[list[str], list[str]]:
        return purge.purge("tao", str(self.archive), Tracker(), check_mode)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch, _purge.COMMENT)


def test_the_role_s_account_goes_with_its_home(host: Host) -> None:
    deleted, kept = host.purge()
    assert "account tao" in deleted and kept == []
    assert host.commands[-1] == "userdel tao"
    assert not any(path.exists() for path in (host.home, host.root, host.engine, host.archive / f"tao-{STAMP}"))
    assert not host.backups.parent.exists(), "the next instance with the name does not go on with its backups"


def test_nothing_stays_of_the_state_and_of_the_log_ins_but_what_is_somebody_else_s(host: Host, tmp_path: Path) -> None:
    """Whoever comes next has another id, which the directories of the first one would not fit."""
    state, log_ins = host.backups.parent, tmp_path / "docker-log-ins"
    for folder in (state / "page", state / "move" / "repository", state / "reset", log_ins / "tao", log_ins / "tao2"):
        folder.mkdir(parents=True)
    os.chown(state / "page", 0, UID)
    os.chown(state / "reset", UID, UID)
    other = state.parent / "tao2" / "page"
    other.mkdir(parents=True)
    deleted, _warnings = host.purge(check_mode=True)
    assert state.exists() and {f"{state}/page", f"{log_ins}/tao"} <= set(deleted)
    assert host.purge()[0] == deleted
    assert not state.exists() and other.exists() and os.listdir(log_ins) == ["tao2"]
    (state / "page").mkdir(parents=True)
    assert f"{state}/page" in host.purge()[0] and not state.exists(), "if the account is gone already, too"


def test_the_next_account_with_the_ids_does_not_get_the_repository(host: Host, tmp_path: Path) -> None:
    local, earlier, others = (tmp_path / name for name in ("backup", "earlier", "others"))
    for path in (local, earlier, others):
        (path / "data").mkdir(parents=True)
        os.chown(path, UID, UID)
    archived = host.archive / f"tao-{STAMP}" / ".backup"
    archived.mkdir()
    (archived / "state.json").write_text(json.dumps({"repositories": [str(earlier), str(tmp_path / "gone")]}))
    (host.backups / "state.json").write_text(json.dumps({"repositories": [str(local)]}))
    host.purge(check_mode=True)
    assert local.stat().st_uid == UID
    assert str(local) not in host.purge()[0], "it is not deleted"
    for path in (local, earlier):
        assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (0, 0, 0o700)
    assert others.stat().st_uid == UID


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_repository_that_is_not_given_to_root_is_named_and_stops_no_purge(
    host: Host, tmp_path: Path, check_mode: bool
) -> None:
    (tmp_path / "victim").mkdir()
    os.chown(tmp_path / "victim", UID, UID)
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    for name, uid in (("nobodys", UID + 1), ("another", 1)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, uid, uid)
    paths = [str(tmp_path / name) for name in ("another", "link", "nobodys")]
    (host.backups / "state.json").write_text(json.dumps({"repositories": paths}))
    _deleted, (link, nobodys) = host.purge(check_mode)
    assert f"{tmp_path}/link is a symbolic link" in link and link.endswith(f"chown root:root {tmp_path}/link")
    assert f"it belongs to the uid {UID + 1}, which no account has" in nobodys
    assert nobodys.endswith(f"chown root:root {tmp_path}/nobodys")
    assert [(tmp_path / name).stat().st_uid for name in ("another", "victim", "nobodys")] == [1, UID, UID + 1]
    assert host.home.exists() is check_mode


def test_a_link_above_a_repository_is_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "disk" / "backup").mkdir(parents=True)
    os.chown(tmp_path / "disk" / "backup", UID, UID)
    (tmp_path / "link").symlink_to("disk")
    (host.backups / "state.json").write_text(json.dumps({"repositories": [str(tmp_path / "link" / "backup")]}))
    assert host.purge()[1] == []
    assert (tmp_path / "disk" / "backup").stat().st_uid == 0


@pytest.mark.parametrize("where", ["files.open_directory", "os.fchown"])
def test_a_repository_that_root_cannot_change_stops_no_purge(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Such as one on NFS, where root is nobody; it may also refuse only the change."""
    path = tmp_path / "backup"
    path.mkdir()
    os.chown(path, UID, UID)
    (host.backups / "state.json").write_text(json.dumps({"repositories": [str(path)]}))

    module, name = where.split(".")
    there = getattr(getattr(purge, module), name)

    def refuse(what: str | int, *given: Any, **more: Any) -> Any:
        if what == str(path) or name == "fchown":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return there(what, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(f"{purge.__name__}.{where}", refuse)
        (said,) = host.purge()[1]
    assert said.startswith(f"the backup repository {path} was not given to root: [Errno 1] Operation not permitted.")
    assert path.stat().st_uid == UID and not host.home.exists()


@pytest.mark.parametrize("comment", ["", "Tao Example,,,", f"Tao,{_purge.COMMENT}"])
@pytest.mark.parametrize("check_mode", [True, False])
def test_an_account_that_may_be_a_person_s_is_kept(host: Host, comment: str, check_mode: bool) -> None:
    host.comment = comment
    deleted, (kept,) = host.purge(check_mode)
    assert "account tao" not in deleted and str(host.home) not in deleted
    assert kept.endswith("userdel --remove tao") and str(host.home) in kept
    assert (host.home / "file").exists()
    assert host.commands == ([] if check_mode else ["loginctl disable-linger tao"])
    for path in (host.root, host.engine, host.archive / f"tao-{STAMP}"):
        assert path.exists() is check_mode


@pytest.mark.parametrize("where", [".", "..", ".local/share/docker"])
def test_a_kept_home_is_not_deleted_as_a_data_root(host: Host, where: str) -> None:
    host.comment = ""
    root = host.home.parent if where == ".." else host.home / where
    root.mkdir(parents=True, exist_ok=True)
    os.chown(root, UID, UID)
    host.configure(root)
    host.purge()
    assert root.exists() and (host.home / "file").exists()


def test_the_role_marks_the_accounts_that_it_makes() -> None:
    tasks = yaml.safe_load((ROOT / "roles/rootless_docker/tasks/engines.yml").read_text())
    (made,) = [task["ansible.builtin.user"] for task in tasks if "ansible.builtin.user" in task]
    assert _purge.made_by_role(made["comment"])
    assert _purge.made_by_role(made["comment"] + ",,,")


def test_links_above_a_home_and_a_data_root_are_followed(host: Host, tmp_path: Path) -> None:
    for name in ("home", "docker"):
        (tmp_path / name).rename(tmp_path / f"real-{name}")
        (tmp_path / name).symlink_to(f"real-{name}")
    deleted, _unused = host.purge()
    assert {f"{tmp_path}/real-home/tao", f"{tmp_path}/real-docker/tao", "account tao"} <= set(deleted)
    assert os.listdir(tmp_path / "real-home") == os.listdir(tmp_path / "real-docker") == []


def test_a_home_that_is_a_link_itself_is_refused_before_anything_is_deleted(host: Host, tmp_path: Path) -> None:
    host.home.rename(tmp_path / "elsewhere")
    host.home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(files.UnsafePathError, match="home/tao is a symbolic link"):
        host.purge()
    assert host.root.exists() and (host.archive / f"tao-{STAMP}").exists() and host.commands == []


def test_a_relative_data_root_is_refused(host: Host) -> None:
    host.configure(Path("docker/tao"))
    with pytest.raises(purge.PurgeError, match="docker/tao is not an absolute path"):
        host.purge()


@pytest.mark.parametrize("point", ["home/tao", "home/tao/a disk", "docker/tao", f"srv/.archive/tao-{STAMP}/data"])
def test_nothing_is_deleted_while_a_disk_is_mounted_there(host: Host, tmp_path: Path, point: str) -> None:
    (tmp_path / point).mkdir(exist_ok=True)
    owner = f"uid={UID},gid={UID}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", owner, "unit-tests", tmp_path / point], check=False).returncode:
        pytest.skip("mounts need their capability")
    try:
        with pytest.raises(purge.PurgeError, match=f"mounted on {tmp_path}/{point}: unmount it first"):
            host.purge()
    finally:
        subprocess.run(["umount", tmp_path / point], check=True)
    assert all(path.exists() for path in (host.home, host.root, host.engine, host.archive / f"tao-{STAMP}"))
    assert host.commands == []


def test_a_mount_beside_a_directory_does_not_block_it() -> None:
    line = "36 25 0:32 / {} rw,relatime shared:1 - tmpfs tmpfs rw\n"
    info = "".join(line.format(point) for point in ("/", "/home", "/home/tao2", "/home/tao", "/home/tao/a\\040b"))
    assert _purge.mounted(info, ["/home/tao"]) == ["/home/tao", "/home/tao/a b"]
    assert _purge.mounted(info, []) == []


def test_other_files_among_the_archives_block_no_purge(host: Host, tmp_path: Path) -> None:
    (host.archive / "README").write_text("what is kept here")
    (host.archive / "link").symlink_to(tmp_path)
    os.mkfifo(host.archive / "pipe")
    assert "account tao" in host.purge()[0]
    assert sorted(os.listdir(host.archive)) == ["README", "link", "pipe"]


@pytest.mark.parametrize("compose", [None, 0, UID, UID + 1, "link"])
@pytest.mark.parametrize("owner", [(UID, 0), (0, UID), (300999, 0), (0, 365535), (200000, 200000), (0, 0)])
def test_another_s_archive_keeps_the_account_that_its_files_belong_to(
    host: Host, compose: int | str | None, owner: tuple[int, int]
) -> None:
    archive = host.archive / f"atlas-{STAMP}"
    (archive / "data" / "deep").mkdir(parents=True)
    os.chown(archive / "data" / "deep", *owner)
    file = archive / "compose.yaml"
    if compose == "link":
        file.symlink_to("/etc/passwd")
    elif isinstance(compose, int):
        file.touch()
        os.chown(file, 0, compose)
    # compose.yaml says whose the archive is; without its word its files are looked at
    needed = compose == UID if compose in (UID, UID + 1) else owner not in ((0, 0), (200000, 200000))
    if not needed:
        assert "account tao" in host.purge()[0]
        return
    with pytest.raises(purge.PurgeError, match=f"the archive atlas-{STAMP} has files of the account tao"):
        host.purge()
    assert host.home.exists() and (host.archive / f"tao-{STAMP}").exists()


def test_an_archive_that_cannot_be_searched_is_named(host: Host) -> None:
    archive = host.archive / "kept by hand"
    archive.mkdir()
    where = os.open(archive, os.O_RDONLY)
    try:
        # deeper than a path may be long
        for _unused in range(20):
            os.mkdir("d" * 250, dir_fd=where)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=where)
            os.close(where)
            where = below
    finally:
        os.close(where)
    with pytest.raises(purge.PurgeError, match=f"the archive {archive} may have files of the account tao"):
        host.purge()
    assert host.home.exists()


STEPS = 60  # more changes than a purge makes


class Kill(BaseException):
    """Nothing cleans up after it, as after SIGKILL."""


def killed_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Kill the purge before its change NUMBER of the file system."""
    left = iter(range(number))
    for call in ("rename", "mkdir", "unlink", "rmdir"):
        real = getattr(os, call)

        def counted(*given: Any, real: Any = real, **more: Any) -> Any:
            if next(left, None) is None:
                raise Kill
            return real(*given, **more)

        patch.setattr(os, call, counted)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("has_account", [True, False])
@pytest.mark.parametrize("number", range(STEPS))
def test_a_purge_that_was_killed_is_completed(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_account: bool, number: int
) -> None:
    for path in (host.home, host.root, host.archive / f"tao-{STAMP}"):
        (path / "deep" / "deeper").mkdir(parents=True)
        (path / "deep" / "deeper" / "file").write_text("somebody's")
        os.chown(path / "deep" / "deeper" / "file", UID, UID)
    if not has_account:
        host.engine.joinpath("daemon.json").unlink()
        host.engine.rmdir()
    killed = False
    with monkeypatch.context() as patch:
        killed_at(number, patch)
        try:
            host.purge()
        except Kill:
            killed = True
    would, _unused = host.purge(check_mode=True)
    deleted, warnings = host.purge()
    assert would == deleted and warnings == []
    kept = {"home", "srv", "srv/.archive", "docker", "etc", "state", "uid", "gid"}
    if has_account:
        assert everything(tmp_path) == kept
        assert deleted or not killed, "what a killed run has left is reported"
        assert number < STEPS - 1 or not killed, "each step was tried"
    else:
        assert not [path for path in everything(tmp_path / "srv") if path != ".archive"]


def test_what_a_killed_purge_left_hinders_no_other_purge(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.archive / f"atlas-{STAMP}" / "data").mkdir(parents=True)
    os.chown(host.archive / f"atlas-{STAMP}" / "data", UID, UID)
    with monkeypatch.context() as patch:
        patch.setattr(purge, "account_of", lambda name: None)
        killed_at(2, patch)
        with pytest.raises(Kill):
            purge.purge("atlas", str(host.archive), Tracker(), False)
    assert os.listdir(host.archive / f".carrel-trash-atlas-{STAMP}")
    assert "account tao" in host.purge()[0]
    assert os.listdir(host.archive) == [f".carrel-trash-atlas-{STAMP}"]
    with monkeypatch.context() as patch:
        patch.setattr(purge, "account_of", lambda name: None)
        done = purge.purge("atlas", str(host.archive), Tracker(), False)
    assert done == ([f"{host.archive}/atlas-{STAMP}"], []) and os.listdir(host.archive) == []


def test_the_administrator_s_own_trash_is_not_emptied(host: Host) -> None:
    folders = [path.parent / name for path in (host.home, host.root, host.engine) for name in (".trash", ".Trash-0")]
    folders.append(host.archive / ".trash")
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text("kept")
    host.purge()
    assert all((folder / "file").read_text() == "kept" for folder in folders)


def test_a_folder_of_an_account_with_the_name_of_our_trash_is_not_emptied(host: Host) -> None:
    fake = host.home.parent / ".carrel-trash-tao"
    fake.mkdir()
    (fake / "file").touch()
    os.chown(fake, UID, UID)
    with pytest.raises(directories.ForeignOwnerError, match=r"\.carrel-trash-tao belongs to 12345"):
        host.purge()
    assert (fake / "file").exists() and (host.home / "file").exists()


def test_an_archive_run_that_was_killed_in_the_resets_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Path("/var/lib/carrel/unit-tests-killed")
    resets = state / "reset"
    resets.mkdir(parents=True)
    try:
        (resets / "state.json").touch()
        (state / "instance.json").write_text("{}")
        with monkeypatch.context() as patch:
            killed_at(2, patch)
            with pytest.raises(Kill):
                directories.remove_tree(str(resets))
        assert sorted(os.listdir(state)) == [".carrel-trash-reset", "instance.json"]
        four_runs("instance_archive", name=state.name, directory=f"/srv/{state.name}")
        assert not state.exists()
    finally:
        shutil.rmtree(state, ignore_errors=True)
