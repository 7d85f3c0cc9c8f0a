#!/usr/bin/python3 -I
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reserve the ports of instances for their accounts: no other account may bind them, even while they are free.

Usage: ports.py [--check]. It reads /etc/carrel/ports.json, {"ports": {PORT: UID}}, and makes the kernel ask a small
BPF program at every bind(2) (bpf(2), BPF_CGROUP_INET4_BIND and INET6_BIND). Attached to the root of the control groups,
it applies to every process of every account until the next boot, when carrel-ports.service attaches it again.
systemd's SocketBindDeny= does the same for a slice, but is gone after each `systemctl daemon-reload` (seen with
systemd 257), and knows neither accounts nor network namespaces.

It prints {"changed": BOOL, "error": TEXT or null}; with --check nothing is changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import socket
import struct
import sys
from collections.abc import Iterator, Mapping

RULES = "/etc/carrel/ports.json"
NAME = b"carrel_"  # our name in the kernel's list of programs; a digest of the program follows

# linux/bpf.h
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 5, 8, 9, 13, 15, 16
PROG_TYPE_CGROUP_SOCK_ADDR = 18
HOOKS = (8, 9)  # BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND
ALLOW_MULTI = 2
GET_CURRENT_UID_GID, GET_NETNS_COOKIE = 15, 122  # helpers
USER_PORT, TYPE = 24, 32  # offsets in struct bpf_sock_addr
SO_NETNS_COOKIE = 71  # asm-generic/socket.h
SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351, "armv7l": 386}


def program(ports: Mapping[int, int], netns_cookie: int) -> bytes:
    """The instructions: 1, allow, except for a stream socket in this network namespace at another account's port."""
    # Registers: r0 is the result, r1 to r5 are lost in calls, r6 keeps the context, r7 the port, r8 the uid.
    code = [
        _instruction(0xBF, 6, 1),  # r6 = context
        _instruction(0x61, 2, 6, TYPE),
        *_allow_unless_equal(2, socket.SOCK_STREAM),
        _instruction(0xBF, 1, 6),
        _instruction(0x85, immediate=GET_NETNS_COOKIE),
        _instruction(0x18, 3, immediate=netns_cookie & 0xFFFFFFFF),  # r3 = a number of 64 bits
        _instruction(0x00, immediate=netns_cookie >> 32),
        _instruction(0x1D, 0, 3, 2),  # if r0 == r3, skip two
        *_return(1),
        _instruction(0x61, 7, 6, USER_PORT),
        _instruction(0x85, immediate=GET_CURRENT_UID_GID),
        _instruction(0xBC, 8, 0),  # r8 = the lower half of r0
    ]
    for port, uid in sorted(ports.items()):
        code += [
            _instruction(0x55, 7, 0, 4, socket.htons(port)),  # if r7 is another port, skip four
            _instruction(0xB7, 0, immediate=1),
            _instruction(0x16, 8, 0, 1, uid),  # if the account is the port's own, skip one
            _instruction(0xB7, 0, immediate=0),
            _instruction(0x95),
        ]
    return b"".join([*code, *_return(1)])


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    registers = (source << 4 | to) if sys.byteorder == "little" else (to << 4 | source)
    return struct.pack("=BBhI", code, registers, offset, immediate)


def _return(result: int) -> list[bytes]:
    return [_instruction(0xB7, 0, immediate=result), _instruction(0x95)]


def _allow_unless_equal(register: int, value: int) -> list[bytes]:
    return [_instruction(0x15, register, 0, 2, value), *_return(1)]


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """bpf(2): its result, and the attributes as the kernel left them."""
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(f"the number of bpf(2) on {platform.machine()} is not known")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, command, ctypes.byref(buffer), len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf(2), command {command}: {os.strerror(error)}")
    return result, buffer.raw


def _load(code: bytes, hook: int, name: bytes) -> int:
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        PROG_TYPE_CGROUP_SOCK_ADDR, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence),
        0, 0, 0, 0, 0, name, 0, hook,
    )  # fmt: skip
    return _bpf(PROG_LOAD, attributes)[0]


def _attached(cgroup: int, hook: int) -> Iterator[tuple[int, bytes]]:
    """Our programs at the hook: descriptors, closed afterwards, and names."""
    numbers = (ctypes.c_uint32 * 64)()
    query = struct.pack("=IIIIQI4x", cgroup, hook, 0, 0, ctypes.addressof(numbers), len(numbers))
    count = struct.unpack_from("=I", _bpf(PROG_QUERY, query)[1], 24)[0]
    for number in numbers[:count]:
        descriptor = _bpf(PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0]
        try:
            information = ctypes.create_string_buffer(80)  # struct bpf_prog_info up to its name
            _bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(information), ctypes.addressof(information)))
            name = information.raw[64:80].rstrip(b"\0")
            if name.startswith(NAME):
                yield descriptor, name
        finally:
            os.close(descriptor)


def _cgroup_root() -> str:
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == "cgroup2":
                return fields[1]
    raise OSError("there is no mount of cgroup v2")


def apply(ports: Mapping[int, int], check: bool) -> bool:
    """Load the rules for these ports, and no others; return whether they are new."""
    with socket.socket() as any_socket:
        cookie = struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
    code = program(ports, cookie)
    name = NAME + hashlib.sha256(code).hexdigest()[:8].encode()
    changed = False
    cgroup = os.open(_cgroup_root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for hook in HOOKS:
            found = {name for _unused, name in _attached(cgroup, hook)}
            if found == ({name} if ports else set()):
                continue
            changed = True
            if not check:
                _replace(cgroup, hook, name if ports else b"", code)
    finally:
        os.close(cgroup)
    return changed


def _replace(cgroup: int, hook: int, name: bytes, code: bytes) -> None:
    """Attach the new program first, so that no port is free in between. Without a name, there is no new program."""
    if name and name not in [found for _unused, found in _attached(cgroup, hook)]:
        descriptor = _load(code, hook, name)
        try:
            _bpf(PROG_ATTACH, struct.pack("=IIIII", cgroup, descriptor, hook, ALLOW_MULTI, 0))
        finally:
            os.close(descriptor)
    for descriptor, found in _attached(cgroup, hook):
        if found != name:
            _bpf(PROG_DETACH, struct.pack("=IIIII", cgroup, descriptor, hook, 0, 0))


def main() -> int:
    changed, failure = False, None
    try:
        with open(RULES, encoding="utf-8") as stream:
            ports = {int(port): int(uid) for port, uid in json.load(stream)["ports"].items()}
        changed = apply(ports, "--check" in sys.argv)
    except OSError as error:
        failure = str(error)
    print(json.dumps({"changed": changed, "error": failure}))
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
