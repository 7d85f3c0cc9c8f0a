# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of an engine, and what to do after they were replaced on disk."""

from __future__ import annotations

from collections.abc import Iterable

PROGRAMS = ("containerd", "dockerd", "rootlesskit", "slirp4netns")


def advice(engine: str, programs: Iterable[str]) -> str:
    return (
        f"the engine {engine} still runs the old {', '.join(programs)} although its package was upgraded; this restarts"
        f" the engine and its containers: su --pty - {engine} -c 'systemctl --user restart rootless-docker'"
    )
