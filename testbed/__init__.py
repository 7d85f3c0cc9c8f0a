# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real test hosts on any machine with Docker, or with nothing but Debian: see docs/contributing/testing.md."""
