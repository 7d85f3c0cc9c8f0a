# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench makes of measured times."""

from __future__ import annotations

import http.server
import threading

import pytest

from bench import carto, domains, figures, waves
from testbed.web_server import WebServer


class Handler(http.server.BaseHTTPRequestHandler):
    """No hub: every page is missing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 0.95, 1),
        (2, 0.5, 1),
        (5, 0.95, 5),
        (19, 0.95, 19),
        (20, 0.95, 19),
        (100, 0.95, 95),
        (100, 1, 100),
        (3, 0, 1),
    ],
)
def test_a_percentile_is_one_of_the_values(count: int, share: float, expected: float) -> None:
    assert figures.percentile(list(range(count, 0, -1)), share) == expected


def test_failures_are_counted_and_their_times_are_not() -> None:
    whole = [{"log_in": float(number), "all": 10.0 * number} for number in (1, 2, 6)]
    failed = [{"failed": f"log_in: error {number // 2}"} for number in range(10)]
    assert figures.summary([*failed[:1], *whole, *failed[1:]]) == {
        "users": 13,
        "failed": 10,
        "first_failures": ["log_in: error 0", "log_in: error 1", "log_in: error 2"],
        "log_in": {"median_s": 2.0, "p95_s": 6.0},
        "all": {"median_s": 20.0, "p95_s": 60.0},
    }


def test_nobody_gets_through() -> None:
    found = figures.summary([{"failed": "log_in: refused"}])
    assert found == {"users": 1, "failed": 1, "first_failures": ["log_in: refused"]}
    assert figures.times(found, figures.summary([{"all": 1.0}])) == {}


def test_ratios_are_of_the_same_step() -> None:
    ours, other = figures.summary([{"all": 3.0, "stop": 1.0}]), figures.summary([{"stop": 4.0, "all": 2.0}])
    assert figures.times(ours, other) == {"all": {"median": 1.5, "p95": 1.5}, "stop": {"median": 0.25, "p95": 0.25}}


def test_starts_are_compared_with_those_beside_them() -> None:
    """The machine is slower in the third round, and that is nothing that domains add."""
    times = {"one_network": [1, 1, 9], "own_networks": [1.1, 1.2, 9.3], "own_networks_and_domains": [1.2, 1.2, 9.4]}
    found = domains.compare({name: dict.fromkeys(domains.FIGURES, each) for name, each in times.items()})
    assert found["starts"] == 3
    assert found["own_networks"]["server_ready_s"] == 1.2
    assert found["more_with_own_networks"]["server_ready_s"] == 0.2
    assert found["more_with_domains"]["kernel_answers_s"] == 0.1
    assert found["more_with_both"]["kernel_answers_s"] == 0.2


def test_first_labs_which_install_packages_are_left_out() -> None:
    ours = [{"playbooks_s": 90.0, "log_in_s": 90.5}, {"playbooks_s": 20.0, "log_in_s": 20.5}]
    found = carto.compare(ours, [{"playbooks_s": 50.0, "log_in_s": 55.0}, {"playbooks_s": 40.0, "log_in_s": 41.0}])
    assert found["each_further"]["this_collection"] == {"playbooks_s": 20.0, "log_in_s": 20.5}
    assert found["times_the_other"] == {"playbooks": 0.5, "log_in": 0.5}


@pytest.mark.parametrize(("page", "said"), [("nothing", "LoginError"), (None, "ConnectionError")])
def test_whoever_does_not_get_through_is_a_figure_with_its_step(page: str | None, said: str) -> None:
    with WebServer(Handler) as server:
        port = server.server_port
        if page:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.server_close()
        people = {"ada": "lovelace", "alan": "turing"}
        site = waves.Site({"url": f"http://127.0.0.1:{port}/", "ca": None, "sign_up": False, "people": people})
        found = figures.summary(site.wave(list(people)))
        if page:
            server.shutdown()
    assert (found["users"], found["failed"]) == (2, 2)
    assert all(each.startswith(f"log_in: {said}: ") for each in found["first_failures"])
