# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine with a bare Debian 13, reached over ssh: for what containers cannot show, such as limits."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

from testbed.patience import PATIENCE, until

from . import engine, pki
from .images import check_space
from .run import STATE, Failure, run, step

VM = STATE / "vm"
PID_FILE, CONSOLE, KEY, KNOWN_HOSTS = (VM / name for name in ("qemu.pid", "console.log", "id_ed25519", "known_hosts"))
WRITTEN = VM / "written.qcow2"
SSH_PORT, SITE_PORT = 8470, 8471
SSH_OPTIONS = (
    f"-oIdentityFile={KEY}", "-oIdentitiesOnly=yes", f"-oUserKnownHostsFile={KNOWN_HOSTS}", "-oHostKeyAlias=carrel-vm",
    "-oBatchMode=yes", "-oConnectTimeout=20", "-oLogLevel=ERROR",
)  # fmt: skip
# What the installer leaves on a server without tasks, as far as it matters here.
PACKAGES = (
    "ca-certificates,dbus,iproute2,libpam-systemd,linux-image-cloud-amd64,openssh-server,python3,systemd-sysv,udev"
)
# Not qemu's 10.0.2.0/24: rootless engines have that one for themselves, and would look for the registry there.
OUTSIDE = "192.168.76.2"
FILES = {
    "etc/hostname": "carrel-vm\n",
    "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 carrel-vm\n{OUTSIDE} registry.carrel.test\n",
    "etc/resolv.conf": "nameserver 192.168.76.3\n",
    "etc/systemd/network/80-ethernet.network": "[Match]\nName=en*\n[Network]\nDHCP=ipv4\n",
    "etc/dpkg/dpkg.cfg.d/testbed": "force-unsafe-io\n",
}


def _disk() -> Path:
    """Make the disk, unless one of the same recipe is there."""
    digest = hashlib.sha256(repr((PACKAGES, sorted(FILES.items()))).encode()).hexdigest()[:12]
    folder = VM / digest
    if folder.exists():
        return folder
    engine.install_packages("e2fsprogs", "mmdebstrap")
    check_space(STATE, 6)
    shutil.rmtree(VM, ignore_errors=True)
    VM.mkdir(parents=True, mode=0o700)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "carrel test bed", "-f", KEY)
    with step("making a disk with mmdebstrap"), tempfile.TemporaryDirectory(dir=VM) as scratch:
        tree, made = Path(scratch) / "tree", Path(scratch) / "made"
        run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}",
            "--customize-hook=systemctl --root=$1 enable systemd-networkd.service", "trixie", tree)  # fmt: skip
        for path, text in FILES.items():
            (tree / path).unlink(missing_ok=True)
            (tree / path).write_text(text)
        (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{KEY}.pub", tree / "root/.ssh/authorized_keys")
        KNOWN_HOSTS.write_text("carrel-vm " + (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text())
        made.mkdir()
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(tree / (tree / name).readlink(), made / name)
        run("mkfs.ext4", "-q", "-d", tree, made / "disk", "16G")
        made.rename(folder)
    return folder


def _accelerator() -> str:
    """KVM where the processor virtualizes: there are machines with a /dev/kvm but without that, and it fails."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "kvm" if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.W_OK) else "tcg,thread=multi"


def _start() -> None:
    folder = _disk()
    forward = ",".join(
        f"hostfwd=tcp:127.0.0.1:{outer}-:{inner}" for outer, inner in ((SSH_PORT, 22), (SITE_PORT, SITE_PORT))
    )
    with step("starting the virtual machine"):
        run(
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-serial", f"file:{CONSOLE}",
            "-accel", _accelerator(), "-cpu", "max", "-smp", "2", "-m", "3G",
            "-kernel", folder / "vmlinuz", "-initrd", folder / "initrd.img",
            "-append", "root=/dev/vda rw console=ttyS0 systemd.firstboot=off",
            "-drive", f"file={WRITTEN},format=qcow2,if=virtio,cache=unsafe",
            "-nic", f"user,model=virtio-net-pci,net=192.168.76.0/24,{forward}",
            "-device", "virtio-rng-pci", "-pidfile", PID_FILE, "-daemonize",
        )  # fmt: skip


def up() -> None:
    """Start the machine, unless it runs, and wait until it is up; what it writes is lost with `down`."""
    engine.install_packages("openssh-client", "qemu-system-x86", "qemu-utils")
    if not _pid():
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", _disk() / "disk", WRITTEN)
        _start()
    with step("waiting for the virtual machine"):
        wait()
    for source, target in (
        (pki.CA, "/usr/local/share/ca-certificates/carrel-testbed.crt"),
        (pki.CERTIFICATE, "/etc/ssl/site.crt"),
        (pki.KEY, "/etc/ssl/site.key"),
    ):
        ssh(f"umask {'077' if target.endswith('.key') else '022'}; cat > {target}", input_text=source.read_text())
    ssh("update-ca-certificates")


def ssh(command: str, *, check: bool = True, input_text: str = "") -> str:
    """Run a shell command as root in the machine and return what it printed."""
    return run("ssh", *SSH_OPTIONS, f"-p{SSH_PORT}", "root@127.0.0.1", command, check=check, input_text=input_text)


def boot_id() -> str:
    """What tells one boot from another; empty while ssh does not answer."""
    identity = ssh("cat /proc/sys/kernel/random/boot_id", check=False)
    return identity if len(identity) == 36 else ""


def wait(former_boot: str = "", seconds: float = PATIENCE) -> None:
    """Wait until another boot than the former one is complete."""

    def up() -> bool:
        if not _pid():
            raise Failure(f"the virtual machine ended; the end of {log()}")
        return boot_id() not in ("", former_boot)

    def log() -> str:
        return f"{CONSOLE}:\n{CONSOLE.read_text(errors='replace')[-2000:]}"

    until(up, lambda: f"the virtual machine answers; the end of {log()}", seconds, Failure, pause=1)
    state = ssh("systemctl is-system-running --wait", check=False)
    if state != "running":
        raise Failure(f"the virtual machine is '{state}'; failed units:\n{ssh('systemctl --failed --no-legend')}")


def reboot() -> None:
    """Reboot the machine from inside and wait until it is up again."""
    with step("rebooting the virtual machine"):
        former = boot_id()
        ssh("systemctl reboot", check=False)
        wait(former)


def cut_power() -> None:
    """End the machine as a power cut does, with what its kernel has not yet written, and start it again."""
    with step("cutting the power of the virtual machine"):
        former, pid = boot_id(), _pid()
        if not (former and pid):
            raise Failure("the virtual machine does not run")
        os.kill(pid, signal.SIGKILL)
        until(lambda: _has_ended(pid), f"qemu (pid {pid}) ends", error=Failure)
    _start()
    wait(former)


def down() -> None:
    """End the machine; its disk as it was made stays as a cache."""
    pid = _pid()
    if not pid:
        return
    with step("ending the virtual machine"):
        os.kill(pid, signal.SIGTERM)
        until(lambda: _has_ended(pid), f"qemu (pid {pid}) ends", error=Failure)
    WRITTEN.unlink(missing_ok=True)


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or only its exit code is left. Before that, its files may still be locked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _pid() -> int | None:
    """The running machine's process, if it is ours."""
    try:
        pid = int(PID_FILE.read_text())
        return pid if str(PID_FILE).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None
