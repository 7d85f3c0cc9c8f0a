# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People at a hub: who gets in, what they see, and what their files look like on the host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import requests

from testbed.client import Lab, LoginError
from testbed.hub_client import Hub, SpawnError
from testbed.patience import PATIENCE, SOON, until

from .conftest import Site, enter, passwords, run_on, visit

HOME = "/srv/class/data/users"


@pytest.fixture(scope="module")
def labs(hub: Site) -> Iterator[dict[str, Lab]]:
    """Three people at work at the same time."""
    with contextlib.ExitStack() as stack:
        sessions = {user: stack.enter_context(visit(hub, user)) for user in ("ada", "grace", "prof")}
        for session in sessions.values():
            session.start()
        for session in sessions.values():
            session.wait()
        yield {user: session.lab() for user, session in sessions.items()}


def shell(lab: Lab, command: str) -> str:
    return lab.run(f"import subprocess\nprint(subprocess.getoutput({command!r}))").strip()


def mapped_id(account: str, container_id: int) -> int:
    """What the host calls an id of the engine's containers, from /etc/subuid."""
    start = run_on("carrel-test-3", "sh", "-c", f"grep ^{account}: /etc/subuid").split(":")[1]
    return int(start) + container_id - 1


def test_kernels_of_two_people_answer_and_their_homes_are_their_own(labs: dict[str, Lab]) -> None:
    assert labs["ada"].run("print(6 * 7)").strip() == "42"
    assert labs["grace"].run("print(7 * 7)").strip() == "49"
    shell(labs["ada"], "echo mine > ~/work/ada.txt")
    assert "ada.txt" not in shell(labs["grace"], "ls -A ~/work ~/work/users 2>&1")
    assert "cannot access" in shell(labs["grace"], "ls ~/work/users")


def test_a_terminal_opens(labs: dict[str, Lab]) -> None:
    assert "42" in labs["ada"].terminal().run("echo $((6*7))", "42\r\n")


def test_forty_tabs_may_ask_for_a_login_at_once(hub: Site, labs: dict[str, Lab]) -> None:
    """Each of them gets a cookie for ten minutes."""
    with requests.Session() as http:
        http.verify, http.trust_env = hub.ca, False
        for number in range(60):
            url = f"{labs['ada'].url}lab/tree/folder/week-{number}/notebook-{number}.ipynb"
            answer = http.get(url, timeout=PATIENCE, allow_redirects=False)
            assert (answer.status_code, "oauth2/authorize" in answer.headers["Location"]) == (302, True), number
        assert http.get(url, timeout=PATIENCE).url.startswith(f"{hub.url}hub/login?")


def test_nobody_enters_anothers_server(hub: Site, labs: dict[str, Lab]) -> None:
    with enter(hub, "grace") as session, pytest.raises(LoginError):
        session.lab("ada")


def test_nobody_reaches_what_others_start_in_their_containers(labs: dict[str, Lab]) -> None:
    """In a rootless engine; tests/integration/test_hub_apart.py tries everything in another one."""
    shell(labs["grace"], "nohup python3 -m http.server --bind 0.0.0.0 9999 > /dev/null 2>&1 &")
    address = shell(labs["grace"], "hostname -i")

    def reaches(user: str, host: str, port: int) -> bool:
        program = f"import socket; socket.create_connection(('{host}', {port}), 3)"
        return shell(labs[user], f'python3 -c "{program}" && echo yes').endswith("yes")

    until(lambda: reaches("grace", address, 9999), "grace's program listens", SOON)
    assert reaches("grace", address, 8888) and reaches("ada", "hub", 8081)
    assert not any(reaches("ada", host, port) for host in (address, "class_grace") for port in (9999, 8888))
    assert not reaches("ada", "proxy", 8001)


def test_files_belong_to_the_mapped_id_on_the_host(hub: Site, labs: dict[str, Lab]) -> None:
    shell(labs["ada"], "echo mine > ~/work/owned.txt; mkdir -p ~/.jupyter/lab/mark")
    wanted = f"{mapped_id('class', 1000)} "
    for path in ("home/owned.txt", "settings/mark", "home", "settings"):
        assert run_on(hub.host, "stat", "--format=%u ", f"{HOME}/ada/{path}").startswith(wanted)
    for path in (HOME, f"{HOME}/ada"):
        assert run_on(hub.host, "stat", "--format=%u %a", path).strip() == "0 751"


def test_a_name_that_needs_an_escape_has_its_directory(hub: Site) -> None:
    run_on(hub.host, "test", "-d", f"{HOME}/alan-2et-40uni-2eexample/home")


def test_groups_and_common_folders_have_the_modes_of_their_members(labs: dict[str, Lab]) -> None:
    groups = {user: shell(lab, "ls ~/work/groups").split() for user, lab in labs.items()}
    assert groups == {"ada": ["statistics"], "grace": ["geometry", "statistics"], "prof": ["statistics"]}
    assert "Read-only" in shell(labs["ada"], "touch ~/work/shared/x")
    assert shell(labs["prof"], "echo slides > ~/work/shared/slides && cat ~/work/shared/slides") == "slides"
    assert shell(labs["ada"], "cat ~/work/shared/slides") == "slides"
    assert shell(labs["ada"], "echo both > ~/work/colab/both && cat ~/work/colab/both") == "both"


def test_colleagues_can_edit_each_others_files_under_any_umask(labs: dict[str, Lab]) -> None:
    path = "~/work/groups/statistics/deep/joint"
    shell(labs["ada"], f"umask 077; mkdir -p ~/work/groups/statistics/deep; echo ada > {path}")
    assert shell(labs["grace"], f"echo grace >> {path} && cat {path}") == "ada\ngrace"
    assert "rw-rw" in shell(labs["grace"], f"stat --format=%A {path}")


def test_an_admin_sees_all_and_cannot_write(labs: dict[str, Lab]) -> None:
    shell(labs["ada"], "echo mine > ~/work/seen.txt")
    assert shell(labs["prof"], "cat ~/work/users/ada/home/seen.txt") == "mine"
    assert "Read-only" in shell(labs["prof"], "touch ~/work/users/ada/home/x")


def test_an_admin_can_enter_a_users_server(hub: Site, labs: dict[str, Lab]) -> None:
    with enter(hub, "prof") as session:
        assert {"ada", "grace", "prof"} <= set(session.users())
        with session.lab("ada") as lab:
            assert lab.run("print(6 * 7)").strip() == "42"


def test_environment_and_jupyterlab_settings_arrive(labs: dict[str, Lab]) -> None:
    assert labs["ada"].run("import os; print(os.environ['GREETING'])").strip() == 'it\'s $5 & "more"'
    settings = labs["ada"].request("GET", "lab/api/settings/@jupyterlab/apputils-extension:themes").json()
    assert settings["schema"]["properties"]["theme"]["default"] == "JupyterLab Dark"


def test_the_server_cannot_reach_the_hubs_secrets_or_database(labs: dict[str, Lab]) -> None:
    for path in ("/etc/carrel", "/var/run/docker.sock", "/srv"):
        assert "secrets" not in (seen := shell(labs["ada"], f"ls -R {path}")) and "sock" not in seen.split()
    assert shell(labs["ada"], "getent hosts database || echo unknown") == "unknown"


def test_the_notice_is_on_the_login_page_as_text(hub: Site) -> None:
    page = requests.get(hub.url + "hub/login", verify=hub.ca, timeout=PATIENCE).text
    assert "Statistics and geometry, winter term" in page
    assert "Do not share &lt;your&gt; password. {{ }}" in page
    assert 'type="password"' in page


@pytest.mark.parametrize(("user", "password"), [("ada", "wrong"), ("nobody", ""), ("mallory", "mallory"), ("ADA", "")])
def test_the_wrong_people_stay_outside(hub: Site, user: str, password: str) -> None:
    with pytest.raises(LoginError):
        Hub(hub.url, hub.ca).login(user, password)


def test_who_is_listed_without_a_password_signs_up_with_an_invitation(hub: Site) -> None:
    secret = "a password of my own"
    with Hub(hub.url, hub.ca) as nobody:
        nobody.sign_up("nobody", secret)
        with pytest.raises(LoginError):
            nobody.login("nobody", secret)
        with enter(hub, "prof") as prof:
            invitation = prof.invitations()["nobody"]
        assert "ready" in nobody.sign_up("nobody", secret, invitation)
        assert nobody.login("nobody", secret).username == "nobody"


def test_a_start_without_directories_tells_the_user_what_to_do(hub: Site) -> None:
    run_on(hub.host, "mv", f"{HOME}/nobody/settings", f"{HOME}/nobody/elsewhere")
    try:
        with enter(hub, "nobody", "a password of my own") as session, pytest.raises(SpawnError, match="administrator"):
            session.spawn()
    finally:
        run_on(hub.host, "mv", f"{HOME}/nobody/elsewhere", f"{HOME}/nobody/settings")


def test_metrics_need_their_own_token(hub: Site) -> None:
    token = run_on(hub.host, "cat", "/srv/class/metrics-token").strip()
    with requests.Session() as session:
        session.verify, session.trust_env = hub.ca, False
        assert session.get(hub.url + "hub/metrics", timeout=PATIENCE).status_code == 403
        session.headers["Authorization"] = f"token {token}"
        answer = session.get(hub.url + "hub/metrics", timeout=PATIENCE)
        assert answer.status_code == 200 and "jupyterhub_" in answer.text
        assert session.get(hub.url + "hub/api/users", timeout=PATIENCE).status_code == 403


def test_secrets_are_closed_and_on_no_command_line(hub: Site) -> None:
    for name in ("hub/secrets.json", "hub/passwords.json", "metrics-token"):
        assert run_on(hub.host, "stat", "--format=%U %a", f"/srv/class/{name}").strip() == "class 600"
    for name in ("proxy.env", "compose.yaml"):  # root's docker compose reads them
        assert run_on(hub.host, "stat", "--format=%U:%G %a", f"/srv/class/{name}").strip() == "root:class 640"
    secrets = [*passwords().values(), run_on(hub.host, "cat", "/srv/class/metrics-token").strip()]
    lines = run_on(hub.host, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
    assert "jupyterhub" in lines
    assert not [secret for secret in secrets if secret in lines]
    found = "find /srv/class -xdev -name data -prune -o -type f -perm -004 -print"
    for path in run_on(hub.host, *found.split()).split():
        text = run_on(hub.host, "cat", path)
        assert not [secret for secret in secrets if secret in text]
