# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Makefile puts this checkout on PYTHONPATH as ansible_collections.carrel.jupyter."""
