# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder on its way from the control node to a host, which here is the same machine."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.plugin_utils._folder import digest
from test_plan_action import HERE, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is installed belongs to root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "deep" / "er" / "ünï code").write_bytes(bytes(range(256)) * 100)
    (folder / "deep" / "__pycache__").mkdir()
    (folder / "deep" / "__pycache__" / "x.pyc").touch()
    (folder / "start").write_text("#!/bin/sh\n")
    (folder / "start").chmod(0o755)
    (folder / "private").write_text("x")
    (folder / "private").chmod(0o600)
    os.chown(folder / "private", 4321, 4321)
    (folder / "inner").symlink_to("deep/er")
    (folder / "broken").symlink_to("nowhere")
    (tmp_path / "outside").write_text("of the folder")
    (folder / "outer").symlink_to(tmp_path / "outside")
    return folder


def install(tmp_path: Path, source: Path, dest: Path, *options: str, **more: Any) -> tuple[int, str]:
    task = {"carrel.jupyter.install_folder": {"src": str(source), "dest": str(dest), **more}}
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    remote = tmp_path / "remote"
    done = run(tmp_path, {"h1": {**HERE, "ansible_remote_tmp": str(remote)}}, playbook, "--diff", *options)
    assert not remote.exists() or os.listdir(remote) == [], "nothing is left on the host"
    return done.returncode, done.stdout + done.stderr


def test_everything_arrives_once_and_is_root_s(tmp_path: Path, source: Path) -> None:
    dest = tmp_path / "host" / "build" / "abc"
    files = {"deep/more": "text ü\n", "start": "replaced\n"}
    runs = [install(tmp_path, source, dest, *option, files=files) for option in (["--check"], [], ["--check"], [])]
    assert ["changed=1" in output for _unused, output in runs] == [True, True, False, False], runs
    names = {path.relative_to(dest).as_posix() for path in dest.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert names == {"deep/er/ünï code", "deep/more", "start", "private", "inner", "broken", "outer"}
    assert (dest / "deep" / "er" / "ünï code").read_bytes() == bytes(range(256)) * 100
    assert (dest / "start").read_text() == "replaced\n" and (dest / "deep" / "more").read_text() == "text ü\n"
    assert os.readlink(dest / "inner") == "deep/er" and os.readlink(dest / "broken") == "nowhere"
    assert not (dest / "outer").is_symlink() and (dest / "outer").read_text() == "of the folder"
    assert (dest / "empty").is_dir()
    assert stat.S_IMODE(dest.stat().st_mode) == 0o700
    assert stat.S_IMODE((dest / "private").stat().st_mode) == 0o644, "whatever the umask was"
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in dest.rglob("*")} == {(0, 0)}


def test_the_digest_is_of_what_arrives(tmp_path: Path, source: Path) -> None:
    """A link out of the folder becomes a copy, so its target's content counts; that of others counts anyway."""
    outside, found = tmp_path / "outside", [digest(source, "")]
    outside.write_text("changed")
    found.append(digest(source, ""))
    outside.chmod(0o755)
    found.append(digest(source, ""))
    assert len(set(found)) == 3
    (source / "outer").unlink()
    (source / "outer").write_text("changed")
    (source / "outer").chmod(0o755)
    assert digest(source, "") == found[-1], "a link and its copy are the same image"
    (source / "private").chmod(0o640)
    assert digest(source, "") == found[-1], "modes that do not arrive make no difference"
    (source / "deep" / "bare").mkdir()
    assert digest(source, "") != found[-1], "an empty directory arrives, too"
    (source / "deep" / "bare").rmdir()
    (source / "again").symlink_to("again")
    (source / "broken").unlink()
    assert digest(source, "") != found[-1], "links that lead nowhere count, too"


def test_a_killed_run_is_completed_and_a_link_is_not_followed(tmp_path: Path, source: Path) -> None:
    parent = tmp_path / "host"
    (parent / ".abc.new" / "half").mkdir(parents=True)
    assert install(tmp_path, source, parent / "abc")[0] == 0
    assert os.listdir(parent) == ["abc"] and not (parent / "abc" / "half").exists()
    (tmp_path / "victim").mkdir()
    (parent / "link").symlink_to(tmp_path / "victim")
    for dest in (parent / "link", parent / "link" / "abc"):
        code, output = install(tmp_path, source, dest)
        assert code == 2 and "symbolic link" in output
    assert os.listdir(tmp_path / "victim") == []


def earlier(folder: Path, hours: float = 7) -> Path:
    """A folder of an earlier build; the longest build takes six hours."""
    (folder / "deep").mkdir(parents=True)
    then = time.time() - hours * 3600
    os.utime(folder, (then, then))
    return folder


def test_folders_of_earlier_builds_are_removed(tmp_path: Path, source: Path) -> None:
    parent, victim = tmp_path / "host" / "build", earlier(tmp_path / "victim")
    old, killed, dest = parent / "0123456789ab", parent / ".0123456789ac.new", parent / "0123456789ad"
    (earlier(old) / "deep" / "link").symlink_to(victim)
    earlier(killed)
    runs = [install(tmp_path, source, dest, *option, alone=True) for option in (["--check"], [], [])]
    assert ["changed=1" in output for _unused, output in runs] == [True, True, False], runs
    assert [all(str(path) in output for path in (old, killed)) for _unused, output in runs[:2]] == [True, True]
    assert os.listdir(parent) == [dest.name] and os.listdir(victim) == ["deep"]
    earlier(old)  # left by a run that was killed before it removed this
    runs = [install(tmp_path, source, dest, *option, alone=True) for option in (["--check"], [], [])]
    assert ["changed=1" in output for _unused, output in runs] == [True, True, False], runs
    earlier(old)
    assert "changed=0" in install(tmp_path, source, dest)[1] and old.exists(), "only if it is alone"


def test_what_other_runs_build_from_and_what_is_somebody_else_s_stays(tmp_path: Path, source: Path) -> None:
    parent = tmp_path / "host" / "build"
    for name in ("mine", "0123456789ab.mine", "0123456789ABCDEF", ".mine.new"):
        earlier(parent / name)
    for name in ("0123456789a1", ".0123456789a2.new"):
        earlier(parent / name, hours=5)
    (parent / "0123456789a3").symlink_to(tmp_path)
    (parent / "0123456789a4").touch()
    os.utime(parent / "0123456789a4", (0, 0))
    kept, used = set(os.listdir(parent)), earlier(parent / "0123456789a5")
    # Another run builds from a folder that was there.
    assert "changed=0" in install(tmp_path, source, used, "--check", alone=True)[1]
    assert time.time() - used.stat().st_mtime > 6 * 3600
    assert "changed=0" in install(tmp_path, source, used, alone=True)[1]
    assert "changed=1" in install(tmp_path, source, parent / "0123456789ad", alone=True)[1]
    assert set(os.listdir(parent)) == kept | {used.name, "0123456789ad"}


@pytest.mark.parametrize("name", ["", "0123456789ab", "0123456789ab/geo"])
def test_the_folder_itself_is_never_beside_its_copy(tmp_path: Path, name: str) -> None:
    """On a host that is its own control node."""
    parent = tmp_path / "images" / "geo"
    source = earlier(parent / name)
    for option in ("--check", "--diff"):
        code, output = install(tmp_path, source, parent / "0123456789ad", option, alone=True)
        assert code == 2 and f"{source} is in {parent}, whose old folders are removed" in " ".join(output.split())
        assert "move the folder" in output
    assert source.is_dir() and not (parent / "0123456789ad").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    code, output = install(tmp_path, tmp_path / "nowhere", tmp_path / "host")
    assert code == 2 and "nowhere is not a folder on the control node" in output


def test_a_relative_folder_is_found_beside_the_playbook_and_in_a_role(tmp_path: Path, source: Path) -> None:
    """Whatever folder ansible-playbook is started in."""
    book, away = tmp_path / "book", tmp_path / "away"
    for folder in (book / "files", away, book / "roles" / "one" / "files", book / "roles" / "one" / "tasks"):
        folder.mkdir(parents=True)
    source.rename(book / "images")
    (book / "roles" / "one" / "files" / "own").mkdir()
    (book / "roles" / "one" / "files" / "own" / "file").touch()
    digest = "{{ lookup('carrel.jupyter.folder_digest', folder) }}"
    task = {
        "carrel.jupyter.install_folder": {"src": "{{ folder }}", "dest": f"{tmp_path}/host/{{{{ folder }}}}-{digest}"}
    }
    (book / "roles" / "one" / "tasks" / "main.yml").write_text(json.dumps([{**task, "vars": {"folder": "own"}}]))
    tasks = [{**task, "vars": {"folder": "images"}}]
    playbook = book / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": ["one"], "tasks": tasks}]))
    done = run(away, {"h1": HERE}, playbook)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "host").iterdir()) == ["images", "own"]
