# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Smoke notebooks: what the plan makes of them, and the frames that they run by; real ones are in test_lab_smoke.py."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

import kernel_client
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.smoke import parsed
from ansible_collections.carrel.jupyter.plugins.module_utils._site import lab as site_lab
from plan_helpers import good, hub, lab
from plan_smoke_cases import notebook

FILES = {"/inventory/check.ipynb": notebook("1"), "/data/maps.ipynb": notebook("2")}
MAPS = [{"name": "maps", "smoke": ["/data/maps.ipynb"]}]


def test_what_runs_of_a_notebook() -> None:
    text = notebook(
        {"cell_type": "markdown", "source": "# A title"},
        {"source": ["import geo\n", "geo.draw()"]},
        {"source": "1 / 0", "metadata": {"tags": ["raises-exception", "other"]}},
        {"source": "slow()", "metadata": {"tags": ["skip-execution"]}},
        "",
        "'{{ braces }}'",
        metadata={"kernelspec": {"name": "ir", "language": "R"}},
    )
    assert parsed(text) == {
        "kernel": "ir",
        "cells": [
            {"number": 2, "source": "import geo\ngeo.draw()", "raises": False},
            {"number": 3, "source": "1 / 0", "raises": True},
            {"number": 6, "source": "'{{ braces }}'", "raises": False},
        ],
    }
    assert parsed(notebook("1"))["kernel"] is None


def planned(**keys: Any) -> dict[str, Any]:
    return good([lab(**keys)], files=FILES, images=MAPS)


def test_an_images_notebooks_come_before_the_labs_own() -> None:
    plan = planned(image={"declared": "maps"}, smoke=["check.ipynb"])
    (instance,) = plan["lab_instances"]
    assert [entry["name"] for entry in instance["smoke"]] == ["/data/maps.ipynb", "check.ipynb"]
    assert "; smoke /data/maps.ipynb, check.ipynb" in plan["summary"][0]
    assert plan["reset_jobs"][0]["smoke_seconds"] == 300
    read = json.loads(site_lab.smoke(instance))
    assert read["seconds"] == 300 and read["notebooks"] == instance["smoke"]


def test_without_any() -> None:
    plan = planned(smoke_timeout_seconds=60)
    assert plan["lab_instances"][0]["smoke"] == [] and plan["reset_jobs"][0]["smoke_seconds"] == 0
    assert "smoke" not in plan["summary"][0]


def test_those_of_an_absent_lab_are_not_read() -> None:
    assert planned(state="absent", smoke=["missing.ipynb"])["lab_instances"][0]["smoke"] == []


def test_a_hub_runs_an_images_notebooks_in_this_image_and_its_own_in_all() -> None:
    images = [{"title": "a", "image": "b:1"}, {"title": "b", "image": {"declared": "maps"}}]
    plan = good([hub(image=..., images=images, smoke=["check.ipynb"])], files=FILES, images=MAPS)
    (instance,) = plan["hub_instances"]
    assert [(each["name"], each["images"]) for each in instance["smoke"]] == [
        ("/data/maps.ipynb", [1]),
        ("check.ipynb", [0, 1]),
    ]
    assert "; smoke /data/maps.ipynb, check.ipynb" in plan["summary"][0]
    assert plan["reset_jobs"][0]["smoke_seconds"] == 300


def test_a_hub_with_one_image_runs_them_in_it() -> None:
    plan = good([hub(image={"declared": "maps"}, smoke=["check.ipynb"])], files=FILES, images=MAPS)
    assert [each["images"] for each in plan["hub_instances"][0]["smoke"]] == [[0], [0]]


class Open(kernel_client.Channel):
    """A channel over a socket that is there."""

    def __init__(self, connection: socket.socket, seconds: float = 10) -> None:
        self._socket = connection
        self.until(time.monotonic() + seconds)


def test_frames_of_any_length_come_through() -> None:
    """Those that are sent are masked; answers come in parts, with a ping between them."""
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as stream:
        channel = Open(here)
        for size in (0, 1, 125, 126, 60_000, 70_000):
            data = os.urandom(size)
            thread = threading.Thread(target=channel.send, args=(kernel_client.TEXT, data))
            thread.start()
            head, length = stream.read(2)
            assert head == 0x81 and length & 0x80
            if length in (0xFE, 0xFF):
                assert int.from_bytes(stream.read(2 if length == 0xFE else 8), "big") == size
            mask, masked = stream.read(4), stream.read(size)
            thread.join()
            assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked)) == data
        long = b"x" * 70_000
        answer = b"\x01\x03one" + b"\x89\x01p" + b"\x80\x7f" + len(long).to_bytes(8, "big") + long + b"\x88\x00"
        thread = threading.Thread(target=there.sendall, args=(answer,))
        thread.start()
        assert channel.receive() == (kernel_client.TEXT, b"one" + long)
        assert stream.read(2)[0] == 0x80 | kernel_client.PONG, "a ping is answered"
        with pytest.raises(kernel_client.Failure, match="was closed"):
            channel.receive()
        thread.join()


def test_a_kernel_that_sends_without_end_is_not_listened_to() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"\x81\x7f" + (2**40).to_bytes(8, "big"))
        with pytest.raises(kernel_client.Failure, match="more than 64 MiB in one message"):
            Open(here).receive()


def test_one_that_drips_does_not_hold_anybody_up() -> None:
    here, there = socket.socketpair()
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.05):
            there.sendall(b"\x01\x01x")

    with here, there:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(kernel_client.Late):
                Open(here, seconds=0.5).receive()
        finally:
            done.set()
            thread.join()
