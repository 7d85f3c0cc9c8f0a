# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""user_volumes as root on real files, and what users can do to it. Needs no engine."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import module_runner
import pytest

UID, GID = 100999, 100099
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")


def parameters(base: Path | str, *users: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    listed = [{"name": user} if isinstance(user, str) else user for user in users]
    return {"path": str(base), "users": listed, "uid": UID, "gid": GID, **more}


def run(base: Path | str, *users: str | dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
    return module_runner.run("user_volumes", parameters(base, *users, **more), check)


def four_runs(base: Path | str, *users: str | dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return module_runner.four_runs("user_volumes", parameters(base, *users, **more))


def facts(path: Path) -> tuple[int, int, str]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.filemode(status.st_mode)


def gone(name: str, state: str = "archived") -> dict[str, str]:
    return {"name": name, "state": state}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "data" / "users"


# What is made


def test_directories_are_created_once(base: Path) -> None:
    answers = four_runs(
        base, "ada@uni.example", "学生", directories=[{"name": "home"}, {"name": "lab", "mode": "2750"}]
    )
    ada = base / "ada-40uni-2eexample"
    assert facts(base) == (0, GID, "drwxr-x--x")
    assert facts(ada) == (0, GID, "drwxr-x--x")
    assert facts(ada / "home") == (UID, GID, "drwx------")
    assert facts(ada / "lab") == (UID, GID, "drwxr-s---")
    assert sorted(os.listdir(base)) == ["-e5-ad-a6-e7-94-9f", "ada-40uni-2eexample"]
    assert answers[0]["directories"] == answers[3]["directories"]
    assert answers[3]["directories"]["ada@uni.example"] == str(ada)
    assert answers[3]["owner"] == {"uid": UID, "gid": GID}
    assert "ada-40uni-2eexample/home 100999:100099 0700\n" in answers[1]["diff"][0]["after"]


def test_as_ansible_runs_it(base: Path) -> None:
    ansible_runner.four_runs("user_volumes", parameters(base, "ada@uni.example", "学生", "{{ 1 }}"))
    assert sorted(os.listdir(base)) == ["-7b-7b-201-20-7d-7d", "-e5-ad-a6-e7-94-9f", "ada-40uni-2eexample"]


def test_check_mode_makes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "data" / "users", "ada", check=True)["changed"]
    assert os.listdir(tmp_path) == []


def test_a_further_user_and_a_further_directory_change_nothing_else(base: Path) -> None:
    run(base, "ada", "bob")
    (base / "ada" / "home" / "file").write_text("mine")
    before = [os.lstat(base / "ada" / name) for name in ("home", "settings", "home/file")]
    answers = four_runs(base, "ada", "bob", "eve", directories=[{"name": "home"}, {"name": "settings"}, {"name": "db"}])
    after = answers[1]["diff"][0]["after"]
    made = ["ada/db", "bob/db", "eve", "eve/db", "eve/home", "eve/settings"]
    assert [line.split()[0] for line in after.splitlines()] == made
    assert [os.lstat(base / "ada" / name) for name in ("home", "settings", "home/file")] == before


def test_what_the_owner_may_change_stays_changed(base: Path) -> None:
    run(base, "ada")
    os.chmod(base / "ada" / "home", 0o755)
    os.chown(base / "ada" / "home", -1, GID + 1)
    assert run(base, "ada")["changed"] is False


def test_directories_of_root_are_corrected(base: Path) -> None:
    run(base, "ada")
    os.chmod(base / "ada", 0o777)
    os.chown(base, 0, 0)
    four_runs(base, "ada")
    assert facts(base) == facts(base / "ada") == (0, GID, "drwxr-x--x")


def test_the_umask_does_not_matter(base: Path) -> None:
    old = os.umask(0o777)
    try:
        run(base, "ada")
    finally:
        os.umask(old)
    assert facts(base / "ada") == (0, GID, "drwxr-x--x")


def test_a_user_of_a_container_can_use_it(base: Path, open_to_all: None) -> None:
    """Who has the mapped ids can write in the leaf and list all users, and put nothing beside the leaf."""
    run(base, "ada")
    code = f"""
import os
os.setgroups([]); os.setgid({GID}); os.setuid({UID}); os.chdir({str(base)!r})
open("ada/home/file", "w").close()
print(os.listdir("."), os.access("ada", os.W_OK), os.access(".", os.W_OK))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['ada'] False False\n", done.stderr


def test_the_owner_is_mapped_by_the_account_of_the_engine(tmp_path: Path, base: Path) -> None:
    """With an account of the engine that only this run sees."""
    etc = {
        "passwd": "class101:x:1001:1002::/:/bin/sh",
        "subuid": "class101:165536:65536",
        "subgid": "1001:300000:65536",
    }
    for name, line in etc.items():
        (tmp_path / name).write_text(f"root:x:0:0::/:/bin/sh\n{line}\n")
    script = "".join(f"mount --bind {tmp_path}/{name} /etc/{name}\n" for name in etc) + 'exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-ec", script, "sh")
    arguments = {"path": str(base), "users": [{"name": "ada"}], "account": "class101"}
    assert module_runner.run("user_volumes", arguments, prefix=prefix)["owner"] == {"uid": 166535, "gid": 300099}
    assert facts(base / "ada" / "home")[:2] == (166535, 300099)
    answer = module_runner.run("user_volumes", {**arguments, "account": "nobody-here"}, prefix=prefix)
    assert "no account 'nobody-here'" in answer["msg"]
    answer = module_runner.run("user_volumes", {**arguments, "uid": 70000}, prefix=prefix)
    assert "outside of the 65536 ids" in answer["msg"]


@pytest.fixture
def open_to_all(tmp_path: Path) -> None:
    module_runner.open_to_all(tmp_path)


# What is in the way


def test_a_foreign_owner_is_reported_and_all_others_get_theirs(base: Path) -> None:
    run(base, "ada", "bob")
    os.chown(base / "ada" / "home", 4711, 4711)
    (base / "eve").mkdir()
    os.chown(base / "eve", 4711, 4711)
    for check in (True, False):
        answer = run(base, "ada", "eve", "zoe", check=check)
        assert answer["failed"] and answer["changed"] and len(answer["problems"]) == 2
        assert "ada/home belongs to 4711:4711, not to 100999:100099, and is left as it is" in answer["msg"]
        assert "eve belongs to 4711:4711 but must belong to root" in answer["msg"]
    assert facts(base / "ada" / "home")[0] == facts(base / "eve")[0] == 4711
    assert os.listdir(base / "eve") == []
    assert facts(base / "zoe" / "home")[0] == UID


def test_root_s_directory_with_files_in_it_is_not_given_away(base: Path) -> None:
    (base / "ada" / "home").mkdir(parents=True)
    (base / "ada" / "home" / "file").touch()
    assert "ada/home belongs to 0:0" in run(base, "ada")["msg"]
    assert facts(base / "ada" / "home")[0] == 0


@pytest.mark.parametrize("place", ["data", "data/users", "data/users/ada", "data/users/ada/home"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_links_and_files_in_the_way_are_never_touched(tmp_path: Path, place: str, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(victim)
    else:
        path.touch()
    before = victim.lstat(), facts(path)
    for users in ({"users": [{"name": "ada"}]}, {"users": [gone("ada", "absent")], "purge": True}):
        answer = run(tmp_path / "data" / "users", **users)
        if not answer.get("failed"):  # deleted is the link itself
            assert place == "data/users/ada/home" and "purge" in users
            break
        assert "is a symbolic link or not a directory" in answer["msg"]
        assert (victim.lstat(), facts(path)) == before
    assert victim.lstat() == before[0]


def test_a_link_placed_in_a_race_is_not_followed(tmp_path: Path, base: Path) -> None:
    """Somebody swaps a directory and a link as fast as possible; the link's target never changes."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    run(base, "ada")
    with module_runner.swapping(base, victim, "ada", "ada/home"):
        answers = [run(base, "ada") for _unused in range(12)]
    assert facts(victim) == (0, 0, "drwx------") and os.listdir(victim) == []
    assert any("symbolic link" in answer.get("msg", "") for answer in answers)


# What goes


def test_archived_keeps_every_file(base: Path) -> None:
    run(base, "ada", "bob")
    file = base / "ada" / "home" / "file"
    file.write_text("kept")
    os.chown(file, UID, GID)
    answers = four_runs(base, gone("ada"), "bob")
    archive = Path(answers[1]["archived"]["ada"])
    assert archive.parent == base / ".archive" and facts(archive.parent) == (0, 0, "drwx------")
    assert (archive / "home" / "file").read_text() == "kept" and facts(archive / "home" / "file")[0] == UID
    assert not (base / "ada").exists() and (base / "bob" / "home").exists()
    assert list(answers[0]["archived"]) == ["ada"] and answers[2]["archived"] == {}


def test_two_archives_of_one_user_do_not_mix(base: Path) -> None:
    for number in range(3):
        run(base, "ada")
        (base / "ada" / "home" / str(number)).touch()
        run(base, gone("ada"))
    kept = [path.name for path in (base / ".archive").glob("ada-*/home/*")]
    assert sorted(kept) == ["0", "1", "2"]


def test_users_who_left_the_list(base: Path) -> None:
    run(base, "ada", "bob")
    for stray in ("lost+found", "tao"):
        (base / stray / "data").mkdir(parents=True)
    keeps = run(base, "ada")
    assert (keeps["changed"], keeps["not_listed"]) == (False, ["bob"])
    assert len(keeps["warnings"]) == 2 and "tao is not a user's directory" in str(keeps["warnings"][1])
    answers = four_runs(base, "ada", prune="archive")
    assert list(answers[1]["archived"]) == ["bob"] and answers[1]["not_listed"] == ["bob"]
    assert sorted(os.listdir(base)) == [".archive", "ada", "lost+found", "tao"]


def test_an_empty_list_archives_nobody_unless_it_is_allowed(base: Path) -> None:
    run(base, "ada", "bob")
    assert "allow_empty" in run(base, prune="archive")["msg"]
    assert sorted(os.listdir(base)) == ["ada", "bob"]
    assert sorted(run(base, prune="archive", allow_empty=True)["archived"]) == ["ada", "bob"]


def test_absent_deletes_only_with_purge(base: Path) -> None:
    run(base, "ada", "bob")
    (base / "ada" / "home" / "sub").mkdir()
    (base / "ada" / "home" / "sub" / "file").touch()
    assert "purge: true" in run(base, gone("ada", "absent"))["msg"]
    assert (base / "ada" / "home" / "sub" / "file").exists()
    answers = four_runs(base, gone("ada", "absent"), "bob", purge=True)
    assert answers[0]["deleted"] == answers[1]["deleted"] == ["ada"]
    assert os.listdir(base) == ["bob"]


def test_deletion_follows_no_link_at_any_depth(tmp_path: Path, base: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    run(base, "ada")
    home = base / "ada" / "home"
    (home / "link").symlink_to(victim)
    os.mkfifo(home / "pipe")
    descriptor = os.open(home, os.O_RDONLY)
    for _unused in range(3000):  # deeper than descriptors, the stack of Python or the longest path
        os.mkdir("d" * 20, dir_fd=descriptor)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    assert run(base, gone("ada", "absent"), purge=True)["changed"]
    assert os.listdir(base) == [] and os.listdir(victim) == ["file"]


def test_deletion_while_its_user_swaps_directories_and_links(tmp_path: Path, base: Path, open_to_all: None) -> None:
    """A container that still runs: it has the directory itself, whatever that is called now."""
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "sub" / "file").touch()
    code = f"""
import os, sys
os.chdir({str(base / "ada" / "home")!r})
os.setgroups([]); os.setgid({GID}); os.setuid({UID})
print(flush=True)
for number in range(30000):
    name = str(number % 50)
    try:
        os.makedirs(name + "/sub", exist_ok=True)
        open(name + "/sub/file", "w").close()
        os.rename(name, name + "x")
        os.symlink({str(victim)!r}, name)
        os.unlink(name)
    except OSError:
        if not os.path.exists("."): break
"""
    for _unused in range(3):
        run(base, "ada")
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline()
            answer = run(base, gone("ada", "absent"), purge=True)
            process.kill()
        assert answer["changed"], answer
        run(base, gone("ada", "absent"), purge=True)
        assert os.listdir(base) == []
        assert (victim / "sub" / "file").exists()


def test_a_mounted_file_system_is_not_deleted(base: Path) -> None:
    run(base, "ada")
    inside = base / "ada" / "home" / "disk"
    inside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inside], check=True)
    (inside / "file").touch()
    try:
        answer = run(base, gone("ada", "absent"), purge=True)
        assert answer["failed"] and "busy" in answer["msg"]
        assert len(list(base.glob(".trash/*/disk/file"))) == 1
    finally:
        subprocess.run(["umount", *base.glob(".trash/*/disk"), *base.glob("ada/home/disk")], check=True)
    assert run(base, gone("ada", "absent"), purge=True)["changed"]
    assert os.listdir(base) == []


# What is interrupted


def complete(base: Path, names: list[str]) -> bool:
    return all(facts(base / name / leaf)[0] == UID for name in names for leaf in ("home", "settings"))


def test_what_a_killed_run_left_is_completed(base: Path) -> None:
    """Every moment at which making one can be interrupted: made; mode set."""
    for mode in (0o700, 0o750):
        (base / "ada" / "home").mkdir(parents=True, exist_ok=True)
        (base / "ada" / "home").chmod(mode)
        four_runs(base, "ada", directories=[{"name": "home", "mode": "0750"}])
        assert facts(base / "ada" / "home") == (UID, GID, "drwxr-x---")
        (base / "ada" / "home").rmdir()


def test_kill_at_any_moment_and_run_again(base: Path) -> None:
    names = [f"user{number}" for number in range(3000)]
    caught = 0
    for _unused in range(6):
        process = module_runner.start("user_volumes", parameters(base, *names))
        for _unused in range(10_000):
            if base.exists() and len(os.listdir(base)) > caught * 300:
                break
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        caught += process.returncode == -signal.SIGKILL and len(os.listdir(base)) < len(names)
    assert caught, "no run was interrupted at work"
    assert not run(base, *names).get("failed")
    assert complete(base, names) and run(base, *names)["changed"] is False


def test_a_killed_deletion_is_completed(base: Path) -> None:
    run(base, "ada", "bob")
    for number in range(20_000):
        (base / "ada" / "home" / str(number)).touch()
    process = module_runner.start("user_volumes", parameters(base, gone("ada", "absent"), "bob", purge=True))
    while (base / "ada").exists():
        time.sleep(0.001)
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (base / ".trash").exists()
    four_runs(base, gone("ada", "absent"), "bob", purge=True)
    assert os.listdir(base) == ["bob"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=200", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills(small_disk: Path) -> None:
    base = small_disk / "data" / "users"
    names = [f"user{number}" for number in range(100)]
    answer = run(base, *names)
    assert answer["failed"] and answer["changed"] and "is full" in answer["msg"] and "user" in answer["msg"]
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", small_disk], check=True)
    assert not run(base, *names).get("failed")
    assert complete(base, names) and run(base, *names)["changed"] is False


# Who comes back, and what is deleted for good


def archived(base: Path, user: str, stamp: str, text: str) -> Path:
    folder = base / ".archive" / f"{user}-{stamp}"
    for leaf in ("home", "settings"):
        (folder / leaf).mkdir(parents=True)
        os.chown(folder / leaf, UID, GID)
    os.chown(folder, 0, GID)
    folder.chmod(0o751)
    (folder / "home" / "file").write_text(text)
    return folder


def test_who_is_listed_again_finds_the_files(base: Path) -> None:
    run(base, "ada", "bob")
    for stamp, text in (("20260101T000000Z", "older"), ("20260102T000000Z", "last")):
        archived(base, "eve", stamp, text)
    archived(base, "eve-2", "20270102T000000Z", "of another")
    answers = four_runs(base, "ada", "bob", "eve")
    assert (base / "eve/home/file").read_text() == "last" and facts(base / "eve/home")[0] == UID
    assert sorted(os.listdir(base / ".archive")) == ["eve-2-20270102T000000Z", "eve-20260101T000000Z"]
    assert "eve\n" in answers[0]["diff"][0]["after"]
    # Whoever has files here keeps them.
    archived(base, "ada", "20270101T000000Z", "archived")
    assert not run(base, "ada", "bob", "eve")["changed"]


def test_who_is_held_is_left_alone(base: Path) -> None:
    run(base, "ada", "bob")
    answer = run(base, "ada", {"name": "bob", "state": "held"}, {"name": "new", "state": "held"}, prune="archive")
    assert not answer["changed"] and answer["not_listed"] == [] and sorted(os.listdir(base)) == ["ada", "bob"]


def test_what_was_archived_long_ago_is_deleted_only_if_that_is_asked(base: Path) -> None:
    run(base, "ada")
    days = {days: time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - days * 86400)) for days in (9, 11)}
    for number, stamp in days.items():
        archived(base, "bob", stamp, str(number))
    archived(base, "joe", f"{days[11]}-1", "the second of one second")
    for odd in ("README", f"{days[11]}", "bob-20269901T000000Z"):
        (base / ".archive" / odd).mkdir()
    assert not run(base, "ada")["changed"] and not run(base, "ada", delete_after_days=10)["changed"]
    assert not run(base, "ada", prune="archive", delete_after_days=12)["changed"]
    answers = four_runs(base, "ada", prune="archive", delete_after_days=10)
    assert sorted(answers[0]["deleted"]) == sorted(answers[1]["deleted"]) == ["bob", "joe"]
    kept = [f"bob-{days[9]}", "README", days[11], "bob-20269901T000000Z"]
    assert sorted(os.listdir(base / ".archive")) == sorted(kept)
    assert sorted(os.listdir(base)) == [".archive", "ada"]


def test_nothing_is_deleted_while_a_clock_is_wrong(base: Path) -> None:
    """Of the host or of the control node: the module cannot know."""
    run(base, "ada")
    archived(base, "bob", "20200101T000000Z", "kept")
    options = {"prune": "archive", "delete_after_days": 10}
    for hours in (-25, 25):
        then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + hours * 3600))
        answer = run(base, "ada", control_time=then, **options)
        assert not answer["changed"] and "delete_after_days deletes nothing" in str(answer["warnings"])
    assert os.listdir(base / ".archive") == ["bob-20200101T000000Z"]
    # Of two times the later one counts, or what a slow clock archives would be deleted at once.
    later = run(base, "joe", gone("ada"), control_time="2040-01-31T02:30:00Z", **options)
    assert later["archived"] == {"ada": f"{base}/.archive/ada-20400131T023000Z"}
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 23 * 3600))
    assert run(base, "joe", control_time=soon, **options)["deleted"] == ["bob"]
    assert run(base, "joe", check=True, control_time="soon")["msg"].startswith(
        "control_time is 'soon': write it in UTC"
    )


def test_nothing_of_somebody_who_is_listed_is_deleted(base: Path) -> None:
    """Neither what comes back in the same run, nor what is held; check mode says the same."""
    stamp = "20200101T000000Z"
    for user in ("ada", "bob", "eve"):
        archived(base, user, stamp, user)
    answers = four_runs(base, "ada", {"name": "bob", "state": "held"}, prune="archive", delete_after_days=10)
    assert answers[0]["deleted"] == answers[1]["deleted"] == ["eve"]
    assert (base / "ada/home/file").read_text() == "ada" and os.listdir(base / ".archive") == [f"bob-{stamp}"]


def test_a_deletion_that_was_killed_is_completed(base: Path) -> None:
    run(base, "ada")
    (base / ".trash" / "bob-20200101T000000Z").mkdir(parents=True)
    assert run(base, "ada", prune="archive", delete_after_days=10)["changed"]
    assert (
        sorted(os.listdir(base)) == ["ada"] and not run(base, "ada", prune="archive", delete_after_days=10)["changed"]
    )
