#!/opt/server/bin/python -I
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a container by the conventions of Jupyter's docker-stacks.

https://jupyter-docker-stacks.readthedocs.io/en/latest/using/common.html. This one program is start.sh,
start-notebook.py and start-singleuser.py, depending on the name that it is called by. docs/reference/lab-image.md lists
the differences.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NoReturn

SERVER = Path("/opt/server/bin")
SCRIPTS = Path("/usr/local/bin")
IMAGE_HOME = Path("/home/jovyan")
ROOTS_HOME = Path("/home/root")
PASSWD = Path("/etc/passwd")
USERS = 100  # the group that may change the kernels' environments
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
SUDOERS = Path("/etc/sudoers.d/added-by-start-script")
NOTEBOOK = ("start-notebook.py", "start-notebook.sh")
SINGLEUSER = ("start-singleuser.py", "start-singleuser.sh")
YES = ("1", "true", "yes")
STARTED = "_START_SH_EXECUTED"  # docker-stacks' name for it


class StartError(Exception):
    """The container's environment is wrong; the text says what to set instead."""


@dataclass(frozen=True)
class Account:
    """The account as which the container works."""

    name: str
    uid: int
    gid: int
    group: str

    @property
    def home(self) -> Path:
        return Path("/home") / self.name


def log(text: str) -> None:
    print(f"start: {text}", file=sys.stderr, flush=True)


def asked(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in YES


def account(environ: Mapping[str, str]) -> Account:
    """Return the account that NB_USER, NB_UID, NB_GID and NB_GROUP describe."""
    name = environ.get("NB_USER", "jovyan")
    if name == "root":
        return Account(name, 0, 0, name)
    group = environ.get("NB_GROUP", name)
    for key, value in ("NB_USER", name), ("NB_GROUP", group):
        if not NAME.fullmatch(value):
            raise StartError(f"{key}={value} is not a name: use a to z, digits, - and _, such as {key}=jovyan")
    ids = []
    for key, default in ("NB_UID", "1000"), ("NB_GID", "100"):
        value = environ.get(key, default)
        if not re.fullmatch(r"[0-9]{1,10}", value):
            raise StartError(f"{key}={value} is not a number: use one such as {key}={default}")
        ids.append(int(value))
    if ids[0] == 0:
        raise StartError(f"NB_UID=0 is root's, but NB_USER={name}: give NB_USER=root, or another NB_UID")
    return Account(name, ids[0], ids[1], group)


def umask(environ: Mapping[str, str]) -> int | None:
    """Return the umask from NB_UMASK."""
    value = environ.get("NB_UMASK")
    if value is None:
        return None
    if not re.fullmatch(r"0?[0-7]{1,3}", value):
        raise StartError(f"NB_UMASK={value} is not a umask: use three digits from 0 to 7, such as NB_UMASK=022")
    return int(value, 8)


def command(
    arguments: Sequence[str], environ: Mapping[str, str], root: bool, exists: Callable[[Path], bool]
) -> list[str]:
    """Return the program for a container's command; Jupyter's programs are always the server's own."""
    if not arguments:
        return ["bash"]
    name, rest = arguments[0], list(arguments[1:])
    script = Path(name).name
    if script in NOTEBOOK + SINGLEUSER:
        options = shlex.split(environ.get("NOTEBOOK_ARGS", ""))
        if script in SINGLEUSER or "JUPYTERHUB_API_TOKEN" in environ:
            name = "jupyterhub-singleuser"
            if not any(option.startswith("--ip") for option in [*options, *rest]):
                options.insert(0, "--ip=0.0.0.0")
        else:
            name = "jupyter-" + environ.get("DOCKER_STACKS_JUPYTER_CMD", "lab")
            # jupyter_server itself reads JUPYTER_PORT, but none of the others
            if ip := environ.get("JUPYTER_IP"):
                options.insert(0, f"--ServerApp.ip={ip}")
        if not exists(SERVER / name):
            raise StartError(f"{name} is not in this image: build it with the package in the argument SERVER_PACKAGES")
        rest = [*options, *rest]
        if root and "--allow-root" not in rest:
            rest.append("--allow-root")
    if name.startswith("jupyter") and exists(SERVER / name):
        name = str(SERVER / name)
    return [name, *rest]


def sudoers(name: str, path: str) -> str:
    """Return the rules for GRANT_SUDO: every command without a password, with the container's own PATH."""
    return f'Defaults secure_path="{path}"\n{name} ALL=(ALL) NOPASSWD:ALL\n'


def run_hooks(folder: Path, environ: dict[str, str]) -> dict[str, str]:
    """Source *.sh and run executables, sorted by name; return the environment that the sourced ones leave."""
    for hook in sorted(folder.iterdir()) if folder.is_dir() else []:
        if hook.suffix == ".sh":
            script = 'source "$1"; status=$?; env -0 >&"$2"; exit $status'
            reader, writer = os.pipe()
            with os.fdopen(reader, "rb") as stream:
                shell = subprocess.Popen(
                    ["bash", "-c", script, "bash", str(hook), str(writer)], env=environ, pass_fds=[writer]
                )
                os.close(writer)
                left = stream.read()
            status = shell.wait()
            if left:
                environ = dict(item.split("=", 1) for item in os.fsdecode(left).split("\0") if "=" in item)
        elif hook.is_file() and os.access(hook, os.X_OK):
            status = subprocess.run([str(hook)], env=environ, check=False).returncode
        else:
            log(f"{hook} is neither named *.sh nor executable: skipped")
            continue
        if status:
            log(f"{hook} failed with status {status}")
    return environ


def make_group(wanted: Account, named: bool) -> None:
    """Let a group have this id, and this name if NAMED or if the id has none; a name has one id."""
    try:
        if not named and grp.getgrgid(wanted.gid):
            return
    except KeyError:
        pass
    try:
        taken = grp.getgrnam(wanted.group).gr_gid
    except KeyError:
        subprocess.run(["groupadd", "--gid", str(wanted.gid), "--non-unique", wanted.group], check=True)
        return
    if taken != wanted.gid:
        subprocess.run(["groupmod", "--gid", str(wanted.gid), "--non-unique", wanted.group], check=True)


def further_groups(name: str) -> list[str]:
    return [group.gr_name for group in grp.getgrall() if name in group.gr_mem and group.gr_gid != USERS]


def replace(wanted: Account, others: Sequence[str], named_group: bool) -> None:
    """Make the account and replace others; it gets the groups of the one with its name, or of the image's account."""
    groups = further_groups(wanted.name if wanted.name in others else IMAGE_HOME.name)
    for other in others:
        subprocess.run(["userdel", "--force", other], check=True, capture_output=True)
    # userdel may remove the account's own group, too
    make_group(wanted, named_group)
    left = {group.gr_name for group in grp.getgrall()}
    subprocess.run(
        [
            "useradd", "--no-log-init", "--no-create-home", "--home-dir", str(wanted.home), "--shell", "/bin/bash",
            "--uid", str(wanted.uid), "--gid", str(wanted.gid),
            "--groups", ",".join([str(USERS), *(group for group in groups if group in left)]), wanted.name,
        ],
        check=True,
    )  # fmt: skip


def make_account(wanted: Account, named_group: bool) -> None:
    """Make sure that the account exists with these ids, no other has its uid, and /home/NAME leads to a home."""
    if wanted.uid:
        make_group(wanted, named_group)
        # sudo and id use the first name of a uid
        found = [each for each in pwd.getpwall() if each.pw_name == wanted.name or each.pw_uid == wanted.uid]
        # An account that fits stays as the image made it.
        if [each[:1] + each[2:4] for each in found] != [(wanted.name, wanted.uid, wanted.gid)]:
            replace(wanted, [each.pw_name for each in found], named_group)
    else:
        PASSWD.write_text(entered(PASSWD.read_text(), wanted.name, 0, 0, ROOTS_HOME))
    if not wanted.home.exists():
        wanted.home.symlink_to(IMAGE_HOME)


def entered(passwd: str, name: str, uid: int, gid: int, home: Path) -> str:
    """Return PASSWD with this account instead of others with its name."""
    others = [line for line in passwd.splitlines() if line.partition(":")[0] != name]
    account = f"{name}:x:{uid}:{gid}:{name}:{home}:/bin/bash"
    return "\n".join([account, *others] if uid == 0 else [*others, account]) + "\n"


def name_myself(environ: Mapping[str, str]) -> None:
    """Name the uid with which the container was started: group 0 may write /etc/passwd, as in docker-stacks."""
    uid, gid = os.getuid(), os.getgid()
    try:
        pwd.getpwuid(uid)
        return
    except KeyError:
        pass
    name = environ.get("NB_USER", "jovyan")
    if not NAME.fullmatch(name) or name == "root":
        return
    try:
        with PASSWD.open("r+") as stream:
            text = entered(stream.read(), name, uid, gid, Path(environ.get("HOME", "/")))
            stream.seek(0)
            stream.write(text)
            stream.truncate()
    except OSError:
        log(f"the uid {uid} has no name: start the container with the group 0, as in --user {uid}:0")


def change_owners(wanted: Account, environ: Mapping[str, str]) -> None:
    """Do what CHOWN_HOME and CHOWN_EXTRA ask for; the target of a symbolic link is never touched."""
    jobs = []
    if asked(environ, "CHOWN_HOME"):
        jobs.append((environ.get("CHOWN_HOME_OPTS", ""), str(wanted.home.resolve())))
    for path in filter(None, environ.get("CHOWN_EXTRA", "").split(",")):
        jobs.append((environ.get("CHOWN_EXTRA_OPTS", ""), path))
    for options, path in jobs:
        ids = f"{wanted.uid}:{wanted.gid}"
        subprocess.run(["chown", "--no-dereference", *shlex.split(options), "--", ids, path], check=True)


def become(wanted: Account, environ: dict[str, str]) -> dict[str, str]:
    """Become the account; return its environment."""
    if wanted.uid:
        os.setgroups(sorted({*os.getgrouplist(wanted.name, wanted.gid), USERS}))
        os.setgid(wanted.gid)
        os.setuid(wanted.uid)
    return {**environ, "HOME": str(wanted.home), "USER": wanted.name, "LOGNAME": wanted.name}


def certificate(home: Path) -> str:
    """Make a self-signed certificate with its key, for GEN_CERT; return its path."""
    path = home / ".local/share/jupyter/notebook.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o077)
    subprocess.run(
        [
            "openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "365",
            "-subj", f"/CN={socket.gethostname()}", "-keyout", str(path), "-out", str(path),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    os.umask(before)
    return str(path)


def start(arguments: list[str], environ: dict[str, str]) -> NoReturn:
    """What start.sh does: run hooks, make the account, and run the command as this account."""
    if STARTED in environ:
        log("start.sh has run already: it is the image's entry point, so leave it out of the command")
        execute(arguments, environ)
    environ[STARTED] = "1"
    environ = run_hooks(SCRIPTS / "start-notebook.d", environ)
    if os.geteuid() == 0:
        wanted = account(environ)
        make_account(wanted, "NB_GROUP" in environ)
        change_owners(wanted, environ)
        if asked(environ, "GRANT_SUDO") and wanted.uid:
            SUDOERS.write_text(sudoers(wanted.name, environ["PATH"]))
            SUDOERS.chmod(0o440)
        environ = run_hooks(SCRIPTS / "before-notebook.d", environ)
        environ = become(wanted, environ)
    else:
        for key in "GRANT_SUDO", "CHOWN_HOME", "CHOWN_EXTRA":
            if environ.get(key, "no") != "no":
                log(f"{key} has no effect: it needs a container that starts as root (user: root)")
        # The image itself sets the default ids.
        for key, current, usual in ("NB_UID", os.getuid(), "1000"), ("NB_GID", os.getgid(), "100"):
            if environ.get(key, usual) not in (usual, str(current)):
                log(f"{key}={environ[key]}, but this is {current}: the container needs to start as root (user: root)")
        name_myself(environ)
        environ = run_hooks(SCRIPTS / "before-notebook.d", environ)
    if not os.access(environ.get("HOME", "/"), os.W_OK):
        log(
            f"{environ.get('HOME')} is not writable for {os.getuid()}:{os.getgid()}: "
            "give the container its owner's ids, or its group, as in --group-add users"
        )
    if (mask := umask(environ)) is not None:
        os.umask(mask)
    for key in filter(None, environ.get("JUPYTER_ENV_VARS_TO_UNSET", "").split(",")):
        environ.pop(key, None)
    execute(arguments, environ)


def execute(arguments: list[str], environ: dict[str, str]) -> NoReturn:
    chosen = command(arguments, environ, os.geteuid() == 0, Path.exists)
    if Path(chosen[0]).parent == SERVER and asked(environ, "GEN_CERT"):
        chosen.append(f"--ServerApp.certfile={certificate(Path(environ['HOME']))}")
    try:
        os.execvpe(chosen[0], chosen, environ)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        raise StartError(f"{chosen[0]} cannot be run: {error.strerror}") from None


def main() -> NoReturn:
    name = Path(sys.argv[0]).name
    try:
        if name in NOTEBOOK + SINGLEUSER:
            execute([name, *sys.argv[1:]], dict(os.environ))
        start(sys.argv[1:], dict(os.environ))
    except StartError as error:
        log(str(error))
    except subprocess.CalledProcessError as error:
        log(f"{shlex.join(error.cmd)} failed: {(error.stderr or b'').decode().strip()}")
    sys.exit(1)


if __name__ == "__main__":
    main()
