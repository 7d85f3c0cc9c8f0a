# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measured in a test host's network: python -m bench.inside PUBLIC_URL CA DIRECT_URL < password."""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid

from testbed.client import Kernel, Lab

MEGABYTES = 256
ROUND_TRIPS = 300


def download(lab: Lab) -> float:
    """Return the seconds that a large file takes."""
    began = time.perf_counter()
    size = 0
    with lab.request("GET", "files/bench.bin", stream=True) as answer:
        for chunk in answer.iter_content(2**20):
            size += len(chunk)
    if size != MEGABYTES * 2**20:
        raise SystemExit(f"the download gave {size} bytes")
    return time.perf_counter() - began


def round_trip(kernel: Kernel) -> float:
    """Return the seconds from a kernel_info_request to its reply."""
    request = uuid.uuid4().hex
    header = {
        "msg_id": request,
        "msg_type": "kernel_info_request",
        "session": request,
        "username": "",
        "version": "5.3",
    }
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell"}
    began = time.perf_counter()
    kernel.socket.send(json.dumps(message))
    while True:
        answer = json.loads(kernel.socket.recv())
        if answer["msg_type"] == "kernel_info_reply" and answer["parent_header"].get("msg_id") == request:
            return time.perf_counter() - began


def main(public: str, ca: str, direct: str) -> None:
    """Take turns, so that whatever else the machine does meets both alike, and print the figures as JSON."""
    password = sys.stdin.read()
    with Lab(public, ca).login(password) as through, Lab(direct).login(password) as straight:
        straight.run(f"import os; open('bench.bin', 'wb').write(os.urandom({MEGABYTES} * 2**20)) and None")
        downloads = [(download(through), download(straight)) for _unused in range(5)]
        straight.request("DELETE", "api/contents/bench.bin")
        kernels = through.kernel(), straight.kernel()
        for kernel in kernels:
            kernel.run("1")
        trips = [(round_trip(kernels[0]), round_trip(kernels[1])) for _unused in range(ROUND_TRIPS)]
    rates = [MEGABYTES / min(seconds) for seconds in zip(*downloads)]
    medians = [statistics.median(seconds) * 1000 for seconds in zip(*trips)]
    print(json.dumps({
        "download": {
            "through_apache_MiB_s": round(rates[0]), "direct_MiB_s": round(rates[1]),
            "ratio": round(rates[0] / rates[1], 2),
        },
        "websocket_round_trip": {
            "through_apache_ms": round(medians[0], 2), "direct_ms": round(medians[1], 2),
            "added_ms": round(medians[0] - medians[1], 2),
        },
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
