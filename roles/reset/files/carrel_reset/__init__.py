# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program carrel-reset: recreates an instance's containers, so that everything outside the mounted homes is new."""
