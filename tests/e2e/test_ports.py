# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On every host: only the engine's account can bind an instance's ports, whether something listens there or not."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

NOBODY = 65534

# Prints what bind(2) said about each port on each address, as another account.
BIND = """
import json, os, socket, sys
uid, *ports = map(int, sys.argv[1:])
os.setgroups([])
os.setuid(uid)
said = {}
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    for port in ports:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))
                said[f'{address} {port}'] = 'bound'
            except OSError as error:
                said[f'{address} {port}'] = error.strerror
print(json.dumps(said))
"""


def bind(host: Host, uid: int, ports: list[int], before: str = "") -> dict[str, str]:
    said: dict[str, str] = json.loads(
        host.check_output(f"{before} python3 -I -c %s %s {' '.join(map(str, ports))}", BIND, str(uid))
    )
    return said


@pytest.fixture
def ports(host: Host) -> dict[int, list[int]]:
    """The ports of the host's instances, by the uid of the engine; the idle second ones of labs, too."""
    found: dict[int, list[int]] = {}
    for name in host.file("/var/lib/carrel").listdir():
        file = host.file(f"/var/lib/carrel/{name}/instance.json")
        if not file.exists:
            continue
        record = json.loads(file.content_string)
        own = [record[key] for key in ("port", "second_port") if record.get(key)]
        found.setdefault(host.user(record["engine"]).uid, []).extend(own)
    assert found, "there is no instance here"
    return found


def test_only_the_engines_account_can_bind_a_port(host: Host, ports: dict[int, list[int]]) -> None:
    # what makes systemd forget rules of its own
    host.check_output("systemctl daemon-reload")
    every = sorted(port for own in ports.values() for port in own)
    for stranger in (NOBODY, *ports):
        others = [port for port in every if port not in ports.get(stranger, [])]
        refused = bind(host, stranger, others)
        assert set(refused.values()) <= {"Operation not permitted"}, (stranger, refused)
    for account, own in ports.items():
        assert "Operation not permitted" not in bind(host, account, own).values()


@pytest.mark.parametrize("where", ["--slice=system.slice", "--slice=user-65534.slice"])
def test_a_service_of_another_account_cannot_either(host: Host, ports: dict[int, list[int]], where: str) -> None:
    every = [port for own in ports.values() for port in own]
    said = bind(host, NOBODY, every, f"systemd-run --quiet --wait --collect --pipe {where}")
    assert set(said.values()) == {"Operation not permitted"}


def test_containers_may_use_the_same_numbers(host: Host, ports: dict[int, list[int]]) -> None:
    """Their network is another one, and what people start there is no business of the host."""
    every = [port for own in ports.values() for port in own]
    assert "Operation not permitted" not in bind(host, NOBODY, every, "unshare --net").values()
