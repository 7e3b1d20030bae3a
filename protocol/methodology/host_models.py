"""Named models for energy that no instrument here can read, each with its constants and where they come from.

A model is never changed: new constants make a new id. A figure of a model is *estimated*, and names the id.

ccf-vcpu-linear/1
    Cloud Carbon Footprint's compute formula, average watts = min + utilisation x (max - min), per vCPU. Over a stretch
    of T seconds with `n` CPUs allotted to the sandbox and `c` CPU seconds used by it (utilisation = c / nT), that is
        energy = n x T x MIN + c x (MAX - MIN)         in joules.
    Idle share: the allotment's MIN watts are part of the gross figure whether the sandbox computes or waits; the
    idle-net figure takes them out again, because the idle windows of the same record carry the same term.
    MIN 0.74 W and MAX 3.5 W per vCPU are the averages that the source gives where the processor's micro-architecture
    is not known; they derive from SPECpower_ssj2008 results of whole servers divided by their vCPUs.

ccf-dram-linear/1
    0.392 W per GB (10^9 bytes) of memory that the sandbox's cgroup is charged with, integrated over time (trapezoids
    between readings). The source's mean of two manufacturers' figures for DDR4 (0.375 and 0.4083 W/GB). SPECpower's
    watts include some memory, so the sum of both models overstates a little; the source says the same of its own sums.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

CPU_MODEL: Final = "ccf-vcpu-linear/1"
CPU_MIN_WATTS: Final = Fraction(74, 100)  # per vCPU at 0 % utilisation
CPU_MAX_WATTS: Final = Fraction(35, 10)  # per vCPU at 100 % utilisation
CPU_MODEL_SOURCE: Final = (
    "Cloud Carbon Footprint, Methodology, Appendix I (AWS averages: minimum 0.74 W, maximum 3.5 W per vCPU), "
    "microsite/docs/Methodology.md at commit 1559c186661db0671984f660adefb99080de5db1"
)

DRAM_MODEL: Final = "ccf-dram-linear/1"
DRAM_WATTS_PER_GB: Final = Fraction(392, 1000)
DRAM_MODEL_SOURCE: Final = (
    "Cloud Carbon Footprint, Methodology, Memory (0.000392 kWh per GB and hour), "
    "microsite/docs/Methodology.md at commit 1559c186661db0671984f660adefb99080de5db1"
)

MODEL_SOURCES: Final = {CPU_MODEL: CPU_MODEL_SOURCE, DRAM_MODEL: DRAM_MODEL_SOURCE}
