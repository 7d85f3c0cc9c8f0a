# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m testbed up GROUP HOST[=PORT,…] … | down GROUP | reboot HOST … | clean."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import engine, hosts, images, pki
from .run import Failure, run


def up(group: str, specs: list[str]) -> None:
    """Bring up the engine, the images, the registry with its images, and a group of hosts."""
    engine.up()
    images.check_space(Path("/var/lib"), 8)
    pki.ensure()
    base = images.base()
    address = hosts.registry_up(images.build("registry", parent=base))
    lab = images.build("lab", parent=base)
    images.push(base, address, "carrel/base:trixie")
    images.push(lab, address, "carrel/lab:1.0")
    images.push(images.build("carto", parent=lab), address, "carrel/carto:1.0")
    hosts.up(group, specs)


def down(group: str) -> None:
    """Remove a group of hosts; with the last one the registry, the network and an engine that was started here."""
    if engine.answers() and hosts.down(group):
        engine.down()


def clean() -> None:
    """Remove everything that the test bed made, images too."""
    engine.up()
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
    commands.add_parser("clean", help="remove all hosts and images")
    options = parser.parse_args()
    try:
        if options.command == "up":
            up(options.group, options.hosts)
        elif options.command == "down":
            down(options.group)
        elif options.command == "reboot":
            hosts.reboot(options.hosts)
        else:
            clean()
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
