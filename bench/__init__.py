# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: figures as ratios against the alternative in the same run."""
