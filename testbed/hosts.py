# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: containers with systemd as PID 1, in which real rootless Docker runs, and a registry for them."""

from __future__ import annotations

import json
import ssl
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from testbed.patience import SOON, until

from . import images, pki
from .run import STATE, Failure, run, step, succeeds

LABEL = "carrel.testbed"
CHECKOUT = "carrel.testbed.checkout"
# A worktree with a link to the .testbed of another shares its certificates and images, and so its hosts.
HERE = str(STATE.resolve().parent)
NETWORK = "carrel-testbed"
# Outside of the pools from which the engines in the hosts take their own networks: 172.16.0.0/12 and 192.168.0.0/16.
SUBNET = "10.213.77.0/24"
REGISTRY = "carrel-registry"
REGISTRY_NAME = "registry.carrel.test:5000"
# A machine without SYS_RESOURCE refuses --privileged; this is what systemd and rootless Docker need.
# The remount gives the host a cgroup v2 tree of its own, whatever the machine has.
FLAGS = (
    "--cgroupns=private", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined", "--security-opt=apparmor=unconfined",
    "--device=/dev/fuse", "--device=/dev/net/tun",
    "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "--env=container=docker", "--stop-signal=SIGRTMIN+3",
)  # fmt: skip
INIT = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /sbin/init"


def variables(hub_base: str = images.BASE) -> dict[str, Any]:
    """A test host's variables for Ansible: how to reach it, its certificate, and what hubs' images are built from.

    With ansible_user, the connection would ask Docker twice for its version in each task.
    """
    return {
        "ansible_connection": "community.docker.docker",
        "ansible_python_interpreter": "/usr/bin/python3",
        "jupyter_tls": {"mode": "files", "certificate": "/etc/ssl/site.crt", "private_key": "/etc/ssl/site.key"},
        "hub_base_image": f"{REGISTRY_NAME}/{hub_base}",
        "hub_extra_ca_certificates": sorted(map(str, images.MACHINE_CERTIFICATES.glob("*.crt"))),
    }


def containers(group: str | None = None) -> list[str]:
    """The names of the test bed's containers, of one group or of all."""
    label = LABEL if group is None else f"{LABEL}={group}"
    return run("docker", "ps", "--all", "--filter", f"label={label}", "--format", "{{.Names}}").split()


def take_over() -> None:
    """Remove what another checkout left behind; refuse while its hosts run: names, ports and trust are not shared."""
    columns = f'{{{{.Names}}}}\t{{{{.State}}}}\t{{{{.Label "{CHECKOUT}"}}}}'
    listing = run("docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", columns)
    foreign = [(name, state, root) for name, state, root in map(_cells, listing.splitlines()) if root != HERE]
    running = [(name, root) for name, state, root in foreign if state == "running" and name != REGISTRY]
    if running:
        name, root = running[0]
        raise Failure(
            f"the test host {name} of the checkout {root or '(unknown)'} is running; run `make demo-down` there"
        )
    if foreign:
        names = [name for name, _unused, _unused in foreign]
        with step(f"removing {', '.join(names)} of another checkout"):
            run("docker", "rm", "--force", "--volumes", *names)
            run("docker", "volume", "rm", "--force", REGISTRY, *(f"{name}-srv" for name in names))


def _cells(line: str) -> list[str]:
    return [*line.split("\t"), "", ""][:3]


def registry_up(registry_image: str) -> str:
    """Start the registry; return the address that the machine pushes to."""
    if REGISTRY in containers():
        run("docker", "start", REGISTRY)
    else:
        if not succeeds("docker", "network", "inspect", NETWORK):
            run("docker", "network", "create", "--label", LABEL, "--subnet", SUBNET, NETWORK)
        with step("starting the registry"):
            run(
                "docker", "run", "--detach", "--name", REGISTRY, "--label", f"{LABEL}=registry",
                "--label", f"{CHECKOUT}={HERE}", "--network", NETWORK,
                "--network-alias", "registry.carrel.test", "--publish", "127.0.0.1::5000",
                "--volume", f"{REGISTRY}:/var/lib/registry", registry_image,
            )  # fmt: skip
            _put(REGISTRY, pki.CERTIFICATE, "/etc/ssl/registry.crt")
            _put(REGISTRY, pki.KEY, "/etc/ssl/registry.key")
    address = registry_address()
    _wait_for_registry(f"https://{address}/v2/")
    return address


def registry_address() -> str:
    """The address that the machine pushes to while the registry runs."""
    return f"127.0.0.1:{run('docker', 'port', REGISTRY, '5000/tcp').rsplit(':', 1)[1]}"


def _wait_for_registry(url: str) -> None:
    trust = ssl.create_default_context(cafile=str(pki.CA))
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust))
    said = ""

    def answers() -> bool:
        nonlocal said
        try:
            opener.open(url, timeout=SOON).close()
        except OSError as error:
            said = str(error)
            return False
        return True

    until(answers, lambda: f"the registry at {url} answers ({said})", error=Failure)


def up(group: str, specs: list[str], release: str = images.RELEASE) -> None:
    """Start test hosts given as NAME or NAME=PORT,OUTER:INNER,… (published on 127.0.0.1), all at once."""
    host_image = images.build("host", parent=images.base(release))
    with ThreadPoolExecutor() as pool:
        new = [name for name in pool.map(lambda spec: _start(group, spec, host_image), specs) if name]
    if new:
        with step(f"waiting for {', '.join(new)}"):
            for name in new:
                wait(name)


def _start(group: str, spec: str, image: str) -> str | None:
    name, _unused, ports = spec.partition("=")
    if name in containers():
        state = json.loads(run("docker", "inspect", name))[0]["State"]
        if state["Running"]:
            return None
        run("docker", "start", name)
        return name
    publish = []
    for port in filter(None, ports.split(",")):
        outer, _unused, inner = port.partition(":")
        publish += ["--publish", f"127.0.0.1:{outer}:{inner or outer}"]
    # If a removal was killed after the host, its disk is still there, and a new host would begin with it.
    run("docker", "volume", "rm", "--force", f"{name}-srv")
    run(
        "docker", "run", "--detach", "--name", name, "--hostname", name, "--label", f"{LABEL}={group}",
        "--label", f"{CHECKOUT}={HERE}",
        "--network", NETWORK, *publish, *FLAGS, "--volume", f"{name}-srv:/srv", image, "/bin/sh", "-c", INIT,
    )  # fmt: skip
    _put(name, pki.CA, "/usr/local/share/ca-certificates/carrel-testbed.crt")
    _put(name, pki.CERTIFICATE, "/etc/ssl/site.crt")
    _put(name, pki.KEY, "/etc/ssl/site.key")
    # The boot empties /tmp meanwhile.
    run("docker", "exec", "--env", "TMPDIR=/var/tmp", name, "update-ca-certificates")
    return name


def _put(container: str, source: Path, target: str) -> None:
    run(
        "docker",
        "exec",
        "--interactive",
        container,
        "sh",
        "-c",
        f"umask 077; cat > {target}",
        input_text=source.read_text(),
    )
    if not target.endswith(".key"):
        run("docker", "exec", container, "chmod", "644", target)


def wait(name: str) -> None:
    """Wait until systemd in the host says that it is up."""

    def state() -> str:
        return run("docker", "exec", name, "systemctl", "is-system-running", check=False)

    def whole() -> bool:
        now = state()
        if now == "degraded":
            failed = run("docker", "exec", name, "systemctl", "--failed", "--no-legend", check=False)
            raise Failure(f"{name} is not whole; failed units:\n{failed}")
        return now == "running"

    until(whole, lambda: f"{name} runs (it is '{state()}')", error=Failure)


def reboot(names: list[str]) -> None:
    """Restart hosts and wait until their systemd is up."""
    with step(f"rebooting {', '.join(names)}"):
        run("docker", "restart", "--time", "60", *names)
        for name in names:
            wait(name)


def replace(name: str) -> None:
    """Start a bare host with the name, the ports and the group of a host that is lost with all that was on it."""
    (lost,) = json.loads(run("docker", "inspect", name))
    bound = lost["HostConfig"]["PortBindings"].items()
    ports = [f"{outer['HostPort']}:{inner.partition('/')[0]}" for inner, outers in bound for outer in outers]
    with step(f"replacing {name}"):
        run("docker", "rm", "--force", "--volumes", name)
    up(lost["Config"]["Labels"][LABEL], [f"{name}={','.join(ports)}"])


def down(group: str) -> bool:
    """Remove a group's hosts and volumes, with the last group the registry; return whether nothing is left."""
    names = containers(group)
    if names:
        with step(f"removing {', '.join(names)}"):
            run("docker", "rm", "--force", "--volumes", *names)
            run("docker", "volume", "rm", "--force", *(f"{name}-srv" for name in names))
    if set(containers()) - {REGISTRY}:
        return False
    if REGISTRY in containers():
        run("docker", "rm", "--force", "--volumes", REGISTRY)
        run("docker", "volume", "rm", "--force", REGISTRY)
    if succeeds("docker", "network", "inspect", NETWORK):
        run("docker", "network", "rm", NETWORK)
    return True
