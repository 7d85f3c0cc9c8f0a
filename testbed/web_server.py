# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server inside a test, on a port of this machine."""

from __future__ import annotations

import http.server
import sys
from typing import Any


class WebServer(http.server.ThreadingHTTPServer):
    """It stays quiet when a client hangs up, as those that meet an endless answer should."""

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
