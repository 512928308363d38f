"""Which core the measured process runs on, and which the load generator and the backends."""

import os

CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = {CORES[0]}, {CORES[-1]}
APART = PROXY_CORE != LOAD_CORE
"""False on a machine of one core, where everything shares it."""
