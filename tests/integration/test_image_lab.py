# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab image in real containers: docker-stacks' conventions, and environments apart."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import image_probe
from own_images import inside, lab_image, server

from testbed.client import Kernel
from testbed.patience import until
from testbed.run import ROOT, run

AS_ROOT = ("--user", "root")


@pytest.fixture(scope="module")
def image() -> str:
    return lab_image()


@pytest.fixture(scope="module")
def lab(image):
    with server(image) as (name, session):
        yield name, session


def test_the_kernel_has_an_environment_of_its_own_which_its_user_may_change(lab):
    code = "import sys, os; print(sys.prefix, os.getuid(), os.getgid(), os.access(sys.prefix, os.W_OK))"
    assert lab[1].run(code) == "/opt/kernels/python 1000 100 True\n"


def test_the_servers_environment_holds_no_kernel_and_cannot_be_changed(lab):
    code = "import subprocess; print(subprocess.getoutput('/opt/server/bin/python -c \"import ipykernel\"'))"
    assert "ModuleNotFoundError" in lab[1].run(code)
    assert lab[1].run("!find /opt/server /opt/carrel -writable -not -type l") == ""


def test_a_person_cannot_break_the_server_through_pip(image):
    broken = "rm -rf /opt/kernels/python/lib && echo broken >/opt/kernels/python/bin/jupyter-lab && exec "
    assert inside(image, "bash", "-c", broken + "start-notebook.py --version") == "4.6.6"


def test_terminals_and_login_shells_find_the_kernels_python(image):
    assert inside(image, "bash", "-lc", "command -v pip jupyter-lab").split() == [
        "/opt/kernels/python/bin/pip",
        "/opt/server/bin/jupyter-lab",
    ]


def suppressed(kernel: Kernel) -> None:
    """Compute until the kernel is stopped."""
    with contextlib.suppress(Exception):
        kernel.run("time.sleep(20)")


def test_a_kernel_that_prints_nothing_keeps_its_server_active(image):
    """Or a hub's culler would end a computation, once its page is closed."""
    config = ROOT / "roles" / "hub" / "files" / "server" / "jupyter_config.py"
    with server(image, "--volume", f"{config}:/etc/jupyter/jupyter_config.py:ro") as (_name, session):

        def last_activity() -> str:
            return str(session.request("GET", "api/status", params={"no_track_activity": "1"}).json()["last_activity"])

        kernel = session.kernel()
        kernel.run("import time")
        idle = last_activity()
        time.sleep(1)
        assert last_activity() == idle
        threading.Thread(target=lambda: suppressed(kernel), daemon=True).start()
        until(lambda: last_activity() > idle, "the computation has begun")
        begun = last_activity()
        time.sleep(1)
        assert last_activity() > begun


def test_it_becomes_healthy(lab):
    assert '"version"' in run("docker", "exec", lab[0], "/opt/carrel/healthcheck.py")
    test = json.loads(run("docker", "inspect", "--format", "{{json .Config.Healthcheck.Test}}", lab[0]))
    assert test == ["CMD", "/opt/carrel/healthcheck.py"]


def test_no_server_is_not_healthy(image):
    assert inside(image, "/opt/carrel/healthcheck.py") == "no server has started"


def test_the_roles_find_the_server_in_it(image):
    def ask(command: list[str], text: str) -> tuple[int, str, str]:
        done = subprocess.run(["docker", *command], input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    found = image_probe.Engine("/var/run/docker.sock", image, None, ask).examine(None, False, jupyterlab=True)
    assert (found.uid, found.gid, found.singleuser) == (1000, 100, True)
    assert [server.python for server in found.servers] == ["/opt/server/bin/python3.13"]
    assert found.servers[0].collaboration is False
    assert found.jupyterlab and "@jupyterlab/apputils-extension:themes" in found.jupyterlab["plugins"]


def test_a_root_start_gives_the_account_the_ids_the_home_and_sudo(image):
    options = (*AS_ROOT, "-e", "NB_USER=ada", "-e", "NB_UID=1234", "-e", "NB_GID=5678", "-e", "GRANT_SUDO=yes")
    script = 'id; echo "$HOME"; sudo id -u; sudo sh -c "command -v pip"; touch ~/work/mine && stat -c %u:%g ~/work/mine'
    lines = inside(image, "bash", "-c", script, options=options).splitlines()
    assert lines == [
        "uid=1234(ada) gid=5678(ada) groups=5678(ada),100(users)",
        "/home/ada",
        "0",
        "/opt/kernels/python/bin/pip",
        "1234:100",
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"NB_UID": "1010"}, "uid=1010(jovyan) gid=100(users) groups=100(users)"),
        ({"NB_USER": "ada"}, "uid=1000(ada) gid=100(users) groups=100(users)"),
        ({"NB_GID": "110"}, "uid=1000(jovyan) gid=110(jovyan) groups=110(jovyan),100(users)"),
        # names and ids that Debian has already
        ({"NB_USER": "games", "NB_GID": "2000"}, "uid=1000(games) gid=2000(games) groups=2000(games),100(users)"),
        ({"NB_UID": "33", "NB_GID": "33"}, "uid=33(jovyan) gid=33(jovyan) groups=33(jovyan),100(users)"),
        (
            {"NB_GID": "2000", "NB_GROUP": "course"},
            "uid=1000(jovyan) gid=2000(course) groups=2000(course),100(users)",
        ),
        ({"NB_GROUP": "staff", "NB_GID": "1234"}, "uid=1000(jovyan) gid=1234(staff) groups=1234(staff),100(users)"),
    ],
)
def test_the_account_after_a_root_start(image, environ, expected):
    options = [word for key, value in environ.items() for word in ("-e", f"{key}={value}")]
    sudo = "id; sudo -n id -u"
    given = (*AS_ROOT, "-e", "GRANT_SUDO=yes", *options)
    assert inside(image, "bash", "-c", sudo, options=given).splitlines()[-2:] == [expected, "0"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "uid=1000(jovyan) gid=100(users) groups=100(users),44(video) /bin/sh"),
        ({"NB_USER": "ada"}, "uid=1000(ada) gid=100(users) groups=100(users),44(video) /bin/bash"),
        ({"NB_UID": "1234"}, "uid=1234(jovyan) gid=100(users) groups=100(users),44(video) /bin/bash"),
    ],
)
def test_a_root_start_keeps_the_groups_that_an_image_gave(image, tmp_path, environ, expected):
    hook = tmp_path / "image.sh"
    hook.write_text("usermod --append --groups video --shell /bin/sh jovyan\n")
    options = [word for key, value in environ.items() for word in ("-e", f"{key}={value}")]
    options += ["-v", f"{hook}:/usr/local/bin/start-notebook.d/image.sh:ro"]
    script = 'echo "$(id) $(getent passwd "$(id -u)" | cut -d: -f7)"'
    assert inside(image, "bash", "-c", script, options=(*AS_ROOT, *options)) == expected


def test_a_uid_of_a_containers_own_has_a_name(image):
    options = ("--user", "1010", "--group-add", "users")
    assert inside(image, "id", options=options) == "uid=1010(jovyan) gid=0(root) groups=0(root),100(users)"
    assert inside(image, "id", "-un", options=(*options, "-e", "NB_USER=kitten")) == "kitten"
    assert "the uid 1010 has no name: start the container with the group 0" in inside(
        image, "true", options=("--user", "1010:1010", "--group-add", "users")
    )


def test_a_command_that_begins_with_the_entry_point_sets_nothing_up_again(image, tmp_path):
    hook = tmp_path / "hook.sh"
    hook.write_text("echo hook\n")
    given = (*AS_ROOT, "-e", "GRANT_SUDO=yes", "-v", f"{hook}:/usr/local/bin/before-notebook.d/hook.sh:ro")
    said = inside(image, "start.sh", "sudo", "-n", "id", "-u", options=given).splitlines()
    assert sorted(said)[:2] == ["0", "hook"] and len(said) == 3
    assert "start.sh has run already" in sorted(said)[2]


def test_the_umask_and_the_home_of_root(image):
    script = 'umask; echo ~root "$HOME"; ps -p 1 -o comm='
    options = (*AS_ROOT, "-e", "NB_USER=root", "-e", "NB_UMASK=027")
    assert inside(image, "bash", "-c", script, options=options).splitlines() == [
        "0027",
        "/home/root /home/root",
        "tini",
    ]


LISTENS = "grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6 | sed 's/^ *[0-9]*: //' | cut -d' ' -f1"
IPV6 = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=0", "--sysctl", "net.ipv6.conf.lo.disable_ipv6=0")
V4, V6 = "00000000", "0" * 32


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {f"{V4}:22B8", f"{V6}:22B8"}),
        ({"JUPYTER_PORT": "8171"}, {f"{V4}:1FEB", f"{V6}:1FEB"}),
        ({"JUPYTER_IP": "127.0.0.1"}, {"0100007F:22B8"}),
    ],
)
def test_it_listens_on_the_address_in_the_environment(image, environ, expected):
    options = [word for key, value in environ.items() for word in ("-e", f"{key}={value}")]
    # It binds one address after the other.
    wait = f"for i in $(seq 300); do sleep 0.2; test $({LISTENS} | wc -l) -ge {len(expected)} && break; done; {LISTENS}"
    script = f"start-notebook.py >/dev/null 2>&1 & {wait}"
    assert set(inside(image, "bash", "-c", script, options=(*IPV6, *options)).split()) == expected


def test_without_grant_sudo_there_is_none(image):
    assert "password is required" in inside(image, "sudo", "-n", "id", options=AS_ROOT)


def test_chown_home_gives_the_home_and_follows_no_link(image, tmp_path):
    hook = tmp_path / "trap.sh"
    hook.write_text("ln -s /etc/passwd /home/jovyan/trap\n")
    options = (*AS_ROOT, "-e", "NB_UID=1234", "-e", "CHOWN_HOME=yes", "-e", "CHOWN_HOME_OPTS=-R")
    options += ("-v", f"{hook}:/usr/local/bin/start-notebook.d/trap.sh:ro")
    shown = inside(image, "stat", "-c", "%u", "/home/jovyan", "/home/jovyan/work", "/etc/passwd", options=options)
    assert shown.split() == ["1234", "1234", "0"]


def test_root_inside_has_a_home_and_a_server(image):
    with server(image, *AS_ROOT, "--env", "NB_USER=root") as (_unused, session):
        assert session.run("import os; print(os.getuid(), os.environ['HOME'])") == "0 /home/root\n"


def test_hooks_run_before_the_command_as_root_and_may_change_the_environment(image, tmp_path):
    hook = tmp_path / "hook.sh"
    hook.write_text('export FROM_HOOK="$(id -u) $NB_USER"\n')
    for folder in "start-notebook.d", "before-notebook.d":
        options = (*AS_ROOT, "-v", f"{hook}:/usr/local/bin/{folder}/hook.sh:ro")
        assert inside(image, "bash", "-c", 'echo "$FROM_HOOK $(id -u)"', options=options) == "0 jovyan 1000"


def test_gen_cert_serves_https(image):
    with (
        pytest.warns(Warning, match="Unverified"),
        server(image, "--env", "GEN_CERT=yes", scheme="https") as (_unused, lab),
    ):
        assert lab.request("GET", "api").json()["version"]


def test_gen_cert_no_serves_http(image):
    with server(image, "--env", "GEN_CERT=no") as (_unused, lab):
        assert lab.request("GET", "api").json()["version"]


def test_singleuser_starts_and_wants_its_hub(image):
    assert "required environment $JUPYTERHUB_SERVICE_URL" in inside(image, "start-singleuser.py")
    assert inside(image, "jupyterhub-singleuser", "--version") == "6.1.1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*AS_ROOT, "-e", "NB_UID=many"), "NB_UID=many is not a number"),
        ((*AS_ROOT, "-e", "NB_UID=0"), "give NB_USER=root"),
        (("-e", "GRANT_SUDO=yes"), "GRANT_SUDO has no effect: it needs a container that starts as root"),
        (("-e", "NB_UID=1234"), "NB_UID=1234, but this is 1000"),
        (("-e", "DOCKER_STACKS_JUPYTER_CMD=notebook"), "jupyter-notebook is not in this image"),
        (("--user", "5000:5000"), "/home/jovyan is not writable for 5000:5000"),
    ],
)
def test_impossible_settings_are_refused(image, options, message):
    assert message in inside(image, "start-notebook.py", "--version", options=options)


def test_a_stop_needs_no_kill(image):
    with server(image) as (name, _unused):
        run("docker", "stop", name)
        assert run("docker", "inspect", "--format", "{{.State.ExitCode}}", name) != "137"
