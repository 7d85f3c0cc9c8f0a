#!/usr/bin/env bash
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
# The name of before; it does the same.
exec /usr/local/bin/start-singleuser.py "$@"
