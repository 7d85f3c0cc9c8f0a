# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of an engine, and what to do once they were replaced on disk."""

from __future__ import annotations

from collections.abc import Iterable

PROGRAMS = ("containerd", "dockerd", "rootlesskit", "slirp4netns")


def advice(engine: str, programs: Iterable[str]) -> str:
    return (
        f"the engine {engine} still runs the {', '.join(programs)} of before an upgrade of packages; this restarts it,"
        f" and its containers with it: su --pty - {engine} -c 'systemctl --user restart rootless-docker'"
    )
