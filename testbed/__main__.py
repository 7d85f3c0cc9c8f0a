# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m testbed up GROUP HOST[=PORT,…] … | down GROUP | reboot HOST … | vm up|down | clean."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import engine, hosts, images, pki, vm
from .run import Failure, alone, run


def registry() -> str:
    """Bring up the images and the registry with its images; return the address to push to."""
    hosts.take_over()
    images.check_space(Path("/var/lib"), 8)
    pki.ensure()
    base = images.base()
    address = hosts.registry_up(images.build("registry", parent=base))
    lab = images.build("lab", parent=base)
    images.push(lab, address, "carrel/lab:1.0")
    images.push(images.build("carto", parent=lab), address, "carrel/lab:carto")
    images.push(images.build("postgres", parent=base), address, "carrel/postgres:17")
    images.push(base, address, base)
    return address


def push_hub_base() -> str:
    """Push what hubs' images are built from in little time; return its name for hosts.variables."""
    return images.push(images.build("hub-base", parent=images.base()), hosts.registry_address(), "carrel/hub-base:1.0")


def up(group: str, specs: list[str], release: str = images.RELEASE) -> None:
    """Bring up the registry and a group of hosts with a release of Debian."""
    with alone("hosts"), engine.up():
        registry()
        hosts.up(group, specs, release)


def down(group: str) -> None:
    """Remove a group of hosts; with the last one the registry, the network and an engine that was started here."""
    with alone("hosts"):
        if engine.answers() and hosts.down(group):
            engine.down()


def vm_up() -> str:
    """Bring up the registry and the virtual machine; return the registry's name and port as the machine knows them."""
    with engine.up():
        address = registry()
        vm.up()
    return f"registry.carrel.test:{address.rsplit(':', 1)[1]}"


def vm_down() -> None:
    """End the virtual machine; without other hosts the registry and the engine go, too."""
    vm.down()
    down("vm")


def clean() -> None:
    """Remove everything that the test bed made, images too."""
    vm.down()
    with engine.up():
        for name in hosts.containers():
            run("docker", "rm", "--force", "--volumes", name)
        hosts.down("none")
        images.remove_all()
    engine.down()


def main() -> int:
    """Parse the command line and act on it."""
    parser = argparse.ArgumentParser(prog="testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="start a group of test hosts")
    up_parser.add_argument("group")
    up_parser.add_argument("hosts", nargs="+", metavar="HOST[=PORT,OUTER:INNER]")
    commands.add_parser("down", help="remove a group of test hosts").add_argument("group")
    commands.add_parser("reboot", help="restart hosts").add_argument("hosts", nargs="+")
    vm_parser = commands.add_parser("vm", help="start or end the virtual machine")
    vm_parser.add_argument("action", choices=["up", "down"])
    commands.add_parser("clean", help="remove all hosts and images")
    options = parser.parse_args()
    try:
        if options.command == "up":
            up(options.group, options.hosts)
        elif options.command == "down":
            down(options.group)
        elif options.command == "reboot":
            hosts.reboot(options.hosts)
        elif options.command == "vm":
            vm_up() if options.action == "up" else vm_down()
        else:
            clean()
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
