# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel with project quotas, where the machine's own has none: User-mode Linux, a Linux kernel as a process.

It sees the machine's files, read-only, has two file systems of its own in /mnt, and starts in two seconds.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import engine
from .run import ROOT, Failure, run

PACKAGE = "user-mode-linux"
MODULES = Path("/usr/lib/uml/modules")
EXT4, XFS, PLAIN = "/mnt/ext4", "/mnt/xfs", "/mnt/plain"
_ENDED = "the command ended with "
# What runs there as PID 1.
_INIT = """\
#!{python}
import ctypes, glob, os, subprocess, sys
library = ctypes.CDLL(None, use_errno=True)
for name in ("quota_tree", "quota_v2"):
    (path,) = glob.glob({modules!r} + "/*/kernel/fs/quota/" + name + ".ko")
    library.syscall(313, os.open(path, os.O_RDONLY), b"", 0)  # finit_module
def mount(*options):
    subprocess.run(["mount", *options], check=True)
try:
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "tmpfs", "/mnt")
    for device, folder in (("a", {ext4!r}), ("b", {xfs!r})):
        os.mkdir(folder)
        mount("-o", "prjquota", "/dev/ubd" + device, folder)
    os.mkdir({plain!r})
    os.environ.update({environment!r})
    done = subprocess.run({command!r}, cwd={folder!r}, stderr=subprocess.STDOUT)
    print({ended!r} + str(done.returncode))
finally:
    sys.stdout.flush()
    os.sync()
    library.reboot(0x4321FEDC)
"""


def missing() -> str | None:
    """Why there can be none on this machine."""
    if platform.machine() != "x86_64" or os.geteuid() or not shutil.which("apt-cache"):
        return "User-mode Linux needs root on a PC with Debian"
    if "Candidate: (none)" in (said := run("apt-cache", "policy", PACKAGE)) or "Candidate" not in said:
        return f"this Debian has no package {PACKAGE}"
    return None


def call(command: Sequence[str], scratch: Path, seconds: float) -> str:
    """Run a command there, as root; what it printed. SCRATCH is an empty folder."""
    engine.install_packages(PACKAGE, "e2fsprogs", "xfsprogs")
    disks = {"ext4": scratch / "ext4", "xfs": scratch / "xfs"}
    for disk, megabytes in zip(disks.values(), (64, 320), strict=True):
        with disk.open("wb") as stream:
            stream.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", disks["ext4"])
    run("tune2fs", "-O", "project,quota", "-Q", "prjquota", disks["ext4"])  # as in docs/howto/disk.md
    run("mkfs.xfs", "-q", disks["xfs"])
    init = scratch / "init"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/mnt"}
    environment["TMPDIR"] = "/mnt"
    init.write_text(
        _INIT.format(
            python=sys.executable, modules=str(MODULES), ext4=EXT4, xfs=XFS, plain=PLAIN, environment=environment,
            command=list(command), folder=str(ROOT), ended=_ENDED,
        )
    )  # fmt: skip
    init.chmod(0o755)
    arguments = ("mem=512M", "quiet", "root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro", f"init={init}")
    consoles = ("con=null", "con0=fd:0,fd:1", f"ubd0={disks['ext4']}", f"ubd1={disks['xfs']}")
    done = subprocess.run(
        ["linux.uml", *arguments, *consoles], env={**os.environ, "TMPDIR": str(scratch)}, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
    )  # fmt: skip
    said, _unused, code = done.stdout.partition(_ENDED)
    if not code.startswith("0"):
        raise Failure(f"{' '.join(command)} failed on the kernel with quotas:\n{done.stdout}")
    return said
