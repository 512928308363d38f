"""The core of the measured process, and the core of load generator and backends."""

import os

CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = {CORES[0]}, {CORES[-1]}
APART = PROXY_CORE != LOAD_CORE
"""False on a machine of one core, where everything shares it."""
