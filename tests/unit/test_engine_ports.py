# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for ports: what is written, and the program itself on a small machine that does what bpf(2) says."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import carrel_ports
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import ports as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._host.port_probe import open_to_others
from hypothesis import given
from hypothesis import strategies as st

HERE, ELSEWHERE = 0x1234_5678_9ABC_DEF0, 0x1234_5678_0000_0001
PORTS = st.dictionaries(st.integers(1, 65535), st.integers(0, 2**32 - 2), max_size=300)


def decision(code: bytes, port: int, uid: int, kind: int = socket.SOCK_STREAM, cookie: int = HERE) -> bool:
    """What the kernel would decide: the few instructions that are used, as the BPF instruction set defines them."""
    context = {carrel_ports.USER_PORT: socket.htons(port), carrel_ports.TYPE: kind}
    answers = {carrel_ports.GET_NETNS_COOKIE: cookie, carrel_ports.GET_CURRENT_UID_GID: 77 << 32 | uid}
    registers: dict[int, Any] = {1: "context"}
    at, whole = 0, 2**64 - 1
    while True:
        operation, both, offset, immediate = struct.unpack_from("<BBhi", code, at)
        at += 8
        to, source = both & 15, both >> 4
        if operation == 0x95:
            return bool(registers[0])
        if operation == 0x85:
            registers[0] = answers[immediate]
            for lost in range(1, 6):
                registers.pop(lost, None)
        elif operation == 0x18:
            upper = struct.unpack_from("<I", code, at + 4)[0]
            registers[to], at = upper << 32 | immediate & 0xFFFFFFFF, at + 8
        elif operation == 0x61:
            assert registers[source] == "context"
            registers[to] = context[offset]
        elif operation in (0xBF, 0xBC):
            registers[to] = registers[source] if operation == 0xBF else registers[source] & 0xFFFFFFFF
        elif operation == 0xB7:
            registers[to] = immediate & whole
        else:
            left = registers[to]
            jump = {
                0x15: left == immediate & whole,
                0x55: left != immediate & whole,
                0x16: left & 0xFFFFFFFF == immediate & 0xFFFFFFFF,
                0x1D: left == registers.get(source, "lost"),
            }[operation]
            at += 8 * offset * jump


@given(PORTS, st.integers(0, 65535), st.integers(0, 2**32 - 2))
def test_only_the_own_account_gets_a_port(ports: dict[int, int], other: int, uid: int) -> None:
    code = carrel_ports.program(ports, HERE)
    for port in [*list(ports)[:20], other]:
        owner = ports.get(port, uid)
        assert decision(code, port, owner)
        assert decision(code, port, (owner + 1) % 2**32) is (port not in ports)
        assert decision(code, port, (owner + 1) % 2**32, cookie=ELSEWHERE), "in a container"
        assert decision(code, port, (owner + 1) % 2**32, kind=socket.SOCK_DGRAM), "not TCP"


def test_the_files_name_the_uids() -> None:
    ports = [{"account": "tao", "ports": [8802, 8801]}, {"account": "gone", "ports": [8803]}]
    files = decide.files(ports, {"tao": 1001}, "text")
    assert json.loads(files[decide.RULES].content) == {"ports": {"8801": 1001, "8802": 1001, "8803": 2**32 - 1}}
    assert (files[decide.PROGRAM].content, files[decide.PROGRAM].mode) == (b"text", 0o755)
    assert f"ExecStart=/usr/bin/python3 -I {decide.PROGRAM}\n" in files[decide.UNIT_PATH].content.decode()
    assert carrel_ports.RULES == decide.RULES


@given(st.integers(0, 2**32 - 2), st.sets(st.integers(1, 65535), min_size=1, max_size=20))
def test_nobody_gets_a_port_of_an_account_that_is_not_made_yet(uid: int, ports: set[int]) -> None:
    """A run may fail before it makes the account, and Apache forward to the port already."""
    files = decide.files([{"account": "new", "ports": list(ports)}], {"tao": uid}, "")
    rules = {int(port): owner for port, owner in json.loads(files[decide.RULES].content)["ports"].items()}
    code = carrel_ports.program(rules, HERE)
    assert not any(decision(code, port, anybody) for port in ports for anybody in (uid, 0, 65534))


@pytest.mark.parametrize("ports", [[0], [65536], [-1]])
def test_invalid_ports_are_refused(ports: list[int]) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        decide.files([{"account": "tao", "ports": ports}], {}, "")


def test_a_port_has_one_account() -> None:
    ports = [{"account": "tao", "ports": [8801, 8801]}, {"account": "geo", "ports": [8801]}]
    with pytest.raises(ValueError, match="port 8801 cannot be reserved for both tao and geo"):
        decide.files(ports, {"tao": 1, "geo": 2}, "")


def test_the_warning_names_ports_and_reason() -> None:
    assert decide.warning([8802, 8801], "no cgroup").startswith(
        "PORTS ARE NOT PROTECTED: any account of this host can bind ports 8801, 8802 of 127.0.0.1 while nothing listens"
    )
    assert "(no cgroup)" in decide.warning([8801], "no cgroup")
    assert "bind port 8801 of" in decide.warning([8801], None)


def test_the_command_reports_errors_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(carrel_ports, "RULES", "/nowhere/ports.json")
    assert carrel_ports.main() == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"] is False and "/nowhere/ports.json" in answer["error"]


def test_without_rules_the_probe_finds_ports_open_whether_taken_or_free() -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1], free.getsockname()[1]]
        free.close()
        assert open_to_others(ports) == ports
        # below 1024 the kernel refuses with another error, EACCES
        assert open_to_others([1]) == [1]
