# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""group_mounts as root on real files, and colleagues who work in what it makes. Needs no engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ansible_runner
import module_runner
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import effective_mounts

UID, GID = 100999, 100099
USERS = [{"name": "ada", "groups": ["stat"]}, {"name": "bob"}, {"name": "prof", "admin": True}]
GROUPS = [{"name": "stat", "members": ["bob"], "admins": ["prof"]}]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")


def parameters(hub: Path, **more: Any) -> dict[str, Any]:
    fixed = {"path": f"{hub}/data", "file": f"{hub}/mounts/mounts.json", "uid": UID, "gid": GID}
    return {**fixed, "users": USERS, "groups": GROUPS, **more}


def run(hub: Path, check: bool = False, **more: Any) -> dict[str, Any]:
    return module_runner.run("group_mounts", parameters(hub, **more), check)


def facts(path: Path) -> tuple[int, int, str]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.filemode(status.st_mode)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return module_runner.open_to_all(tmp_path) / "hub"


def test_as_ansible_runs_it(hub: Path) -> None:
    answers = ansible_runner.four_runs("group_mounts", parameters(hub, file_group=1234))
    assert answers[0]["effective_mounts"] == answers[3]["effective_mounts"]
    assert facts(hub / "mounts" / "mounts.json") == (0, 1234, "-rw-r-----")
    for leaf in ("groups/stat", "shared", "colab"):
        assert facts(hub / "data" / leaf) == (UID, GID, "drwxrws---")
        assert f"{hub}/data/{leaf}" in answers[3]["directories"]
    for folder in ("data", "data/groups"):
        assert facts(hub / folder) == (0, 0, "drwx--x--x")
    text = (hub / "mounts" / "mounts.json").read_text()
    for user, mounts in answers[3]["effective_mounts"].items():
        assert [str(mount) for mount in effective_mounts(text, user)] == mounts.splitlines()
    assert (
        f"/home/jovyan/work/groups/stat rw {hub}/data/groups/stat (member of stat)"
        in answers[3]["effective_mounts"]["ada"].splitlines()
    )


def test_check_mode_reports_what_the_run_does(tmp_path: Path) -> None:
    said = run(tmp_path / "hub", check=True)
    assert os.listdir(tmp_path) == []
    assert said["changed"] and said["diff"] == run(tmp_path / "hub")["diff"]


def test_a_membership_that_ends(hub: Path) -> None:
    run(hub)
    (hub / "data" / "groups" / "stat" / "file").touch()
    answers = module_runner.four_runs("group_mounts", parameters(hub, groups=[], users=[{"name": "bob"}]))
    assert "stat" not in (hub / "mounts" / "mounts.json").read_text()
    assert list(answers[1]["effective_mounts"]) == ["bob"]
    assert (hub / "data" / "groups" / "stat" / "file").exists()


def test_bad_input_changes_nothing(hub: Path) -> None:
    run(hub)
    before = ansible_runner.tree(hub)
    for bad in ({"users": []}, {"users": [{"name": "ada", "groups": ["x"]}]}, {"groups": [{"name": "../x"}]}):
        assert run(hub, **bad)["failed"]
    assert ansible_runner.tree(hub) == before


def test_modes_are_corrected_but_not_of_the_content(hub: Path) -> None:
    run(hub)
    leaf = hub / "data" / "groups" / "stat"
    (leaf / "private").mkdir(mode=0o700)
    os.chmod(leaf, 0o700)
    os.chown(leaf, -1, 4711)
    os.removexattr(leaf, "system.posix_acl_default")
    before = facts(leaf / "private")
    module_runner.four_runs("group_mounts", parameters(hub))
    assert facts(leaf) == (UID, GID, "drwxrws---")
    assert os.getxattr(leaf, "system.posix_acl_default")
    assert facts(leaf / "private") == before


# What is in the way


def mounted(hub: Path, user: str) -> set[str]:
    """The directories of the instance's data that a user gets."""
    mounts = effective_mounts((hub / "mounts" / "mounts.json").read_text(), user)
    return {mount.source.removeprefix(f"{hub}/data/") for mount in mounts}


ALL = {"groups/stat", "shared", "colab"}


@pytest.mark.parametrize(
    ("place", "lost"),
    [
        ("data", ALL),
        ("data/groups", {"groups/stat"}),
        ("data/groups/stat", {"groups/stat"}),
        ("data/shared", {"shared"}),
    ],
)
def test_a_link_in_a_directorys_place_affects_that_directory_only(hub: Path, place: str, lost: set[str]) -> None:
    victim = hub / "victim"
    victim.mkdir(parents=True)
    (hub / place).parent.mkdir(parents=True, exist_ok=True)
    (hub / place).symlink_to(victim)
    before = victim.lstat()
    said = [run(hub, check=check) for check in (True, False, True)]
    assert all(answer["failed"] and "symbolic link" in answer["msg"] for answer in said)
    assert all(f"nobody gets {hub}/data/{min(lost)}" in answer["msg"] for answer in said)
    assert [answer["changed"] for answer in said] == [True, True, False]
    assert said[0]["diff"] == said[1]["diff"]
    assert victim.lstat() == before and os.listdir(victim) == []
    assert mounted(hub, "ada") & ALL == ALL - lost


def test_a_foreign_owner_is_reported_and_does_not_delay_removals(hub: Path) -> None:
    """A user who is root in the container can give the directory away; that must not keep others' access alive."""
    run(hub)
    os.chown(hub / "data" / "groups" / "stat", 4711, 4711)
    answer = run(hub, users=[{"name": "bob"}, {"name": "prof"}])
    assert answer["failed"] and answer["changed"] and "stat belongs to 4711:4711" in answer["msg"]
    assert facts(hub / "data" / "groups" / "stat")[0] == 4711
    assert "ada" not in (hub / "mounts" / "mounts.json").read_text()


@pytest.mark.parametrize("folder", ["data", "data/groups"])
def test_a_foreign_folder_does_not_delay_removals(hub: Path, folder: str) -> None:
    run(hub)
    os.chown(hub / folder, UID, GID)
    more = [*GROUPS, {"name": "new", "members": ["bob"]}]
    answer = run(hub, groups=more, users=[{"name": "bob"}, {"name": "prof"}])
    assert answer["failed"] and f"{folder} belongs to 100999:100099 but must belong to root" in answer["msg"]
    assert answer["msg"].count("must belong to root") == 1
    assert f"nobody gets {hub}/data/" in answer["msg"]
    assert "ada" not in (hub / "mounts" / "mounts.json").read_text()
    assert mounted(hub, "bob") & ALL == ({"shared", "colab"} if folder == "data/groups" else set())
    assert facts(hub / folder)[0] == UID
    os.chown(hub / folder, 0, 0)
    assert not run(hub, groups=more, users=[{"name": "bob"}, {"name": "prof"}]).get("failed")
    assert mounted(hub, "bob") >= ALL | {"groups/new"}


def test_a_link_placed_in_a_race_is_not_followed(hub: Path) -> None:
    run(hub)
    victim = hub / "victim"
    victim.mkdir(mode=0o700)
    with module_runner.swapping(hub / "data" / "groups", victim, "stat"):
        answers = [run(hub) for _unused in range(12)]
    assert facts(victim) == (0, 0, "drwx------") and os.listdir(victim) == []
    assert any("symbolic link" in answer.get("msg", "") for answer in answers)


# What is interrupted


def test_kill_at_any_moment_and_run_again(hub: Path) -> None:
    groups = [{"name": f"group{number}", "members": ["ada"]} for number in range(1500)]
    many = {"groups": groups, "users": [{"name": "ada"}]}
    run(hub)
    caught = 0
    for _unused in range(4):
        process = module_runner.start("group_mounts", parameters(hub, **many))
        for _unused in range(10_000):
            if len(os.listdir(hub / "data" / "groups")) > 1 + caught * 300:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if len(os.listdir(hub / "data" / "groups")) < len(groups):
            caught += 1
            # who lost something lost it first; what is new waits for its directory
            assert mounted(hub, "bob") & ALL == {"shared", "colab"}
            assert all((hub / "data" / source).is_dir() for source in mounted(hub, "ada") if "users" not in source)
    assert caught, "no run was interrupted at work"
    assert not run(hub, **many).get("failed")
    assert {facts(path) for path in (hub / "data" / "groups").iterdir()} == {(UID, GID, "drwxrws---")}
    assert run(hub, **many)["changed"] is False


def test_a_disk_that_fills(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=60", "tmpfs", disk], check=True)
    try:
        run(disk)
        assert "groups/stat" in mounted(disk, "bob")
        many = {"groups": [{"name": f"group{number}"} for number in range(100)], "users": [{"name": "ada"}]}
        answer = run(disk, **many)
        assert answer["failed"] and answer["changed"] and "is full" in answer["msg"]
        assert "groups/stat" not in mounted(disk, "bob")
        assert all((disk / "data" / source).is_dir() for source in mounted(disk, "ada") if "users" not in source)
        subprocess.run(["mount", "-o", "remount,nr_inodes=500", disk], check=True)
        assert not run(disk, **many).get("failed")
        assert run(disk, **many)["changed"] is False
    finally:
        subprocess.run(["umount", disk], check=True)


# Colleagues


def test_colleagues_in_containers_write_each_other_s_files_under_any_umask(hub: Path) -> None:
    """Two uids of a rootless container with the group 100, a bind mount, umask 077, real processes."""
    run(hub, uid=166535, gid=165635)
    with module_runner.container(1002, 165536) as enter:
        script = f"mkdir /mnt/stat && mount --bind {hub}/data/groups/stat /mnt/stat"
        subprocess.run([*enter, "sh", "-ec", script], check=True)

        def as_user(uid: int, script: str) -> None:
            person = ["setpriv", f"--reuid={uid}", "--regid=100", "--clear-groups"]
            subprocess.run([*enter, *person, "sh", "-ec", f"umask 077; cd /mnt/stat; {script}"], check=True)

        as_user(1000, "mkdir -p course/week; echo ada > course/week/file; echo ada > top")
        as_user(1001, "echo bob >> course/week/file; echo bob >> top; echo bob > course/week/new; mv top moved")
        as_user(1000, "echo ada >> course/week/new; rm -r course/week; mkdir course/again; echo ada >> moved")
        as_user(1001, "rmdir course/again")
    leaf = hub / "data" / "groups" / "stat"
    assert (leaf / "moved").read_text() == "ada\nbob\nada\n"
    assert facts(leaf / "moved") == (166535, 165635, "-rw-rw----")
    assert facts(leaf / "course") == (166535, 165635, "drwxrws---")


def test_a_container_gets_the_mounts_of_the_file(hub: Path) -> None:
    """Home, groups and modes of a member and of an admin, mounted as the hub's engine would."""
    module_runner.run("user_volumes", {
        "path": f"{hub}/data/users", "users": [{"name": "ada"}, {"name": "prof"}], "uid": 166535, "gid": 165635,
    })  # fmt: skip
    users = [{"name": "ada"}, {"name": "prof", "admin": True}]
    run(hub, uid=166535, gid=165635, users=users, groups=[], home="/mnt/work", user_directories=[
        {"name": "home", "target": "."}, {"name": "settings", "target": "/mnt/settings"},
    ])  # fmt: skip
    may: dict[str, dict[str, bool]] = {}
    text = (hub / "mounts" / "mounts.json").read_text()
    for user in ("ada", "prof"):
        may[user] = {}
        with module_runner.container(1002, 165536) as enter:
            for mount in effective_mounts(text, user):
                script = f"mkdir -p {mount.target} && mount --bind {mount.source} {mount.target}"
                if mount.mode == "ro":
                    script += f" && mount -o remount,bind,ro {mount.target}"
                subprocess.run([*enter, "sh", "-ec", script], check=True)
            person = ["setpriv", "--reuid=1000", "--regid=100", "--clear-groups"]
            for folder in ("work", "work/shared", "work/colab", "work/users", "work/users/ada/home"):
                done = subprocess.run(
                    [*enter, *person, "touch", f"/mnt/{folder}/by-{user}"], capture_output=True, check=False
                )
                may[user][folder] = done.returncode == 0
            if user == "prof":
                listed = subprocess.run([*enter, *person, "ls", "/mnt/work/users"], capture_output=True, check=True)
                assert listed.stdout.split() == [b"ada", b"prof"]
    allowed = {user: {folder for folder, good in folders.items() if good} for user, folders in may.items()}
    assert allowed == {"ada": {"work", "work/colab"}, "prof": {"work", "work/colab", "work/shared"}}
    assert sorted(path.name for path in (hub / "data" / "colab").iterdir()) == ["by-ada", "by-prof"]


def test_without_acls_there_is_a_warning(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", disk], check=True)
    try:
        first, second = run(disk), run(disk)
        assert (first["changed"], second["changed"]) == (True, False)
        assert all("has no ACLs" in str(answer["warnings"]) for answer in (first, second))
        assert facts(disk / "data" / "groups" / "stat") == (UID, GID, "drwxrws---")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_reader_needs_only_its_three_files(hub: Path) -> None:
    """A hub's image has no Ansible: the files at the same place below a folder on PYTHONPATH are enough."""
    run(hub)
    place = Path("ansible_collections/carrel/jupyter/plugins/module_utils/_shared")
    (hub / "lib" / place).mkdir(parents=True)
    for name in ("mounts.py", "escape.py", "told.py"):
        shutil.copy(Path(__file__).parents[2] / "plugins/module_utils/_shared" / name, hub / "lib" / place / name)
    code = (
        f"import json, sys; from {str(place).replace('/', '.')}.mounts import effective_mounts\n"
        "print(json.dumps([mount.docker() for mount in effective_mounts(open(sys.argv[1]).read(), 'ada')]))"
    )
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(hub / 'lib')!r})\n{code}"]
    done = subprocess.run([*command, hub / "mounts" / "mounts.json"], capture_output=True, check=True)
    assert {mount["target"] for mount in json.loads(done.stdout)} >= {"/home/jovyan/work/groups/stat"}
