# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab image's start program decides; tests/integration/test_image_lab.py runs it in containers."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "images" / "lab"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"image_lab_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # the folder's content is the image's tag
        spec.loader.exec_module(module)
    return module


start = load("start")
healthcheck = load("healthcheck")
SERVER = "/opt/server/bin/"


def command(*arguments: str, root: bool = False, **environ: str) -> list[str]:
    present = {"jupyter-lab", "jupyterhub-singleuser", "jupyter", "python"}
    return start.command(arguments, environ, root, lambda path: path.name in present)


def test_the_default_command_is_the_servers_own_jupyterlab():
    assert command("start-notebook.py", "--debug") == [SERVER + "jupyter-lab", "--debug"]
    assert command("/usr/local/bin/start-notebook.sh") == [SERVER + "jupyter-lab"]


def test_the_address_is_an_option_which_others_replace():
    got = command("start-notebook.py", JUPYTER_IP="::1", NOTEBOOK_ARGS="--ServerApp.ip=0.0.0.0")
    assert got == [SERVER + "jupyter-lab", "--ServerApp.ip=::1", "--ServerApp.ip=0.0.0.0"]


def test_notebook_args_are_split_like_a_shell_and_come_before_the_commands_own():
    got = command("start-notebook.py", "--b", NOTEBOOK_ARGS="--a='x y'")
    assert got == [SERVER + "jupyter-lab", "--a=x y", "--b"]


def test_under_a_hub_the_notebook_command_becomes_singleuser():
    assert command("start-notebook.py", JUPYTERHUB_API_TOKEN="t") == [SERVER + "jupyterhub-singleuser", "--ip=0.0.0.0"]


@pytest.mark.parametrize("where", ["environment", "command"])
def test_singleuser_keeps_the_address_that_it_is_given(where):
    option = "--ip=127.0.0.1"
    got = (
        command("start-singleuser.py", NOTEBOOK_ARGS=option)
        if where == "environment"
        else command("start-singleuser.py", option)
    )
    assert got == [SERVER + "jupyterhub-singleuser", option]


def test_root_is_allowed_once():
    assert command("start-notebook.py", root=True)[1:] == ["--allow-root"]
    assert command("start-notebook.py", "--allow-root", root=True)[1:] == ["--allow-root"]
    assert "--allow-root" not in command("start-notebook.py")


def test_only_jupyters_programs_are_taken_from_the_server():
    assert command("jupyterhub-singleuser", "--x") == [SERVER + "jupyterhub-singleuser", "--x"]
    assert command("python", "-V") == ["python", "-V"]
    assert command("jupyter-mine") == ["jupyter-mine"]
    assert command() == ["bash"]


def test_a_server_that_the_image_lacks_is_named():
    with pytest.raises(start.StartError, match="jupyter-notebook is not in this image"):
        command("start-notebook.py", DOCKER_STACKS_JUPYTER_CMD="notebook")


def test_the_account_is_jovyan_by_default():
    assert start.account({}) == start.Account("jovyan", 1000, 100, "jovyan")
    ada = start.account({"NB_USER": "ada", "NB_UID": "1234", "NB_GID": "5678"})
    assert (ada, ada.home) == (start.Account("ada", 1234, 5678, "ada"), Path("/home/ada"))
    assert start.account({"NB_GROUP": "course"}).group == "course"


def test_root_needs_no_ids():
    assert start.account({"NB_USER": "root", "NB_UID": "1000", "NB_GID": "100"}) == start.Account("root", 0, 0, "root")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"NB_UID": "abc"}, "NB_UID=abc is not a number: use one such as NB_UID=1000"),
        ({"NB_GID": "-1"}, "NB_GID=-1 is not a number"),
        ({"NB_UID": "0"}, "NB_UID=0 is root's, but NB_USER=jovyan: give NB_USER=root"),
        ({"NB_USER": "../etc"}, r"NB_USER=\.\./etc is not a name"),
        ({"NB_USER": "a b"}, "NB_USER=a b is not a name"),
        ({"NB_USER": ""}, "NB_USER= is not a name"),
        ({"NB_GROUP": "a:b"}, "NB_GROUP=a:b is not a name: use a to z"),
    ],
)
def test_impossible_accounts_are_refused(environ, message):
    with pytest.raises(start.StartError, match=message):
        start.account(environ)


@pytest.mark.parametrize(("value", "meant"), [("yes", True), ("1", True), ("True", True), ("no", False), ("", False)])
def test_switches(value, meant):
    assert start.asked({"GEN_CERT": value}, "GEN_CERT") is meant


def test_hooks_run_in_order_and_the_sourced_ones_change_the_environment(tmp_path, capfd):
    (tmp_path / "10-set.sh").write_text("export GREETING='good\nmorning'; unset GONE\n")
    (tmp_path / "20-run").write_text('#!/bin/sh\necho "run: $GREETING"\n')
    (tmp_path / "20-run").chmod(0o755)
    (tmp_path / "30-fail.sh").write_text("export AFTER=1\nfalse\n")
    (tmp_path / "40-notes.txt").write_text("")
    left = start.run_hooks(tmp_path, {**os.environ, "GONE": "x"})
    assert left["GREETING"] == "good\nmorning" and left["AFTER"] == "1" and "GONE" not in left
    output, error = capfd.readouterr()
    assert output == "run: good\nmorning\n"
    assert "30-fail.sh failed with status 1" in error and "40-notes.txt is neither" in error


def test_a_hook_that_exits_ends_no_start(tmp_path, capfd):
    (tmp_path / "a.sh").write_text("exit 3\n")
    assert start.run_hooks(tmp_path, {"PATH": os.environ["PATH"]}) == {"PATH": os.environ["PATH"]}
    assert "a.sh failed with status 3" in capfd.readouterr().err


def test_a_missing_folder_of_hooks_is_no_error(tmp_path):
    assert start.run_hooks(tmp_path / "missing", {"A": "b"}) == {"A": "b"}


def test_the_health_check_asks_the_server_that_started_last(tmp_path):
    assert healthcheck.newest([tmp_path], None) is None
    runtime = tmp_path / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True)
    for number, name in enumerate(["jpserver-9.json", "jpserver-1.json"]):
        (runtime / name).write_text("{}")
        os.utime(runtime / name, (number, number))
    assert healthcheck.newest([tmp_path], None) == runtime / "jpserver-1.json"
    assert healthcheck.newest([tmp_path], str(tmp_path)) is None


@pytest.mark.parametrize(("value", "mask"), [(None, None), ("022", 0o22), ("0027", 0o27), ("2", 2)])
def test_the_umask(value, mask):
    assert start.umask({} if value is None else {"NB_UMASK": value}) == mask


@pytest.mark.parametrize("value", ["", "u=rwx", "0o22", "8", "-1", "77777"])
def test_an_invalid_umask_is_refused(value):
    with pytest.raises(start.StartError, match="is not a umask: use three digits"):
        start.umask({"NB_UMASK": value})


Command = list[str]


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Say what is in the image, and only note what would change it: this machine's accounts are not the test's."""
    accounts = [("root", 0, 0), ("jovyan", 1000, 100), ("www-data", 33, 33)]
    members = {"users": (100, ["jovyan"]), "video": (44, ["jovyan", "root"]), "tape": (26, ["www-data"])}
    # userdel takes jovyan along
    members |= {"www-data": (33, []), "jovyan": (1000, ["jovyan"])}
    found: list[Command] = []

    def run(command, **_options):
        found.append(command)
        if command[0] == "userdel":
            members.pop(command[-1], None)

    def group(name):
        return grp.struct_group((name, "x", *members[name]))

    def entry(name, uid, gid):
        return pwd.struct_passwd((name, "x", uid, gid, "", f"/home/{name}", "/bin/zsh"))

    monkeypatch.setattr(pwd, "getpwall", lambda: [entry(*account) for account in accounts])
    monkeypatch.setattr(grp, "getgrall", lambda: [group(name) for name in members])
    monkeypatch.setattr(grp, "getgrnam", group)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: {each.gr_gid: each for each in grp.getgrall()}[gid])
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(start.Account, "home", property(lambda account: tmp_path))
    return found


@pytest.mark.parametrize("account", [("jovyan", 1000, 100), ("www-data", 33, 33)])
def test_an_account_that_fits_stays_as_the_image_made_it(commands, account):
    start.make_account(start.Account(*account, account[0]), named_group=False)
    assert commands == []


@pytest.mark.parametrize(
    ("account", "removed", "groups"),
    [
        (("jovyan", 1010, 100), ["jovyan"], "100,video"),
        (("jovyan", 1000, 44), ["jovyan"], "100,video"),
        (("ada", 1000, 100), ["jovyan"], "100,video"),
        (("ada", 1234, 100), [], "100,video,jovyan"),
        (("jovyan", 33, 100), ["jovyan", "www-data"], "100,video"),
        (("www-data", 1234, 100), ["www-data"], "100,tape"),
    ],
)
def test_a_recreated_account_keeps_its_groups(commands, account, removed, groups):
    start.make_account(start.Account(*account, account[0]), named_group=False)
    *before, made = commands
    assert before == [["userdel", "--force", name] for name in removed]
    assert made[0] == "useradd" and made[made.index("--groups") + 1] == groups and made[-1] == account[0]


PASSWD = "root:x:0:0:root:/root:/bin/bash\nmail:x:8:8::/:/bin/sh\njovyan:x:1000:100::/home/jovyan:/bin/bash\n"


def test_an_account_takes_the_place_of_its_name():
    lines = start.entered(PASSWD, "jovyan", 1010, 0, Path("/home/jovyan")).splitlines()
    assert lines == [*PASSWD.splitlines()[:2], "jovyan:x:1010:0:jovyan:/home/jovyan:/bin/bash"]


def test_root_stays_the_first_of_its_uid():
    lines = start.entered(PASSWD, "root", 0, 0, Path("/home/root")).splitlines()
    assert lines == ["root:x:0:0:root:/home/root:/bin/bash", *PASSWD.splitlines()[1:]]


@pytest.mark.parametrize(
    ("hostname", "asked"),
    [
        ("localhost", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("127.0.0.2", "127.0.0.2"),
        ("fd00::2", "[fd00::2]"),
    ],
)
def test_the_health_check_asks_where_the_server_listens(hostname, asked):
    assert healthcheck.address(hostname) == asked
