"""The candidates: good ones on traffic as it is, and bad ones with one defect each."""

from typing import Final

from bench.rollout.world import Scenario

HARSH: Final = {
    "group": 5.0,
    "keys": 10_000,
    "spells": 0.01,
    "legacy_errors": 0.002,
    "row_noise": 1e-6,
    "transient_noise": 5e-4,
    "daily": 0.6,
    "bursts": 0.02,
}
"""Everything at once: groups of one key, skewed keys with own latency, slow spells, a failing legacy, row noise, day and night, bursts."""

GOOD: Final = (
    Scenario("good, p95 x0.85", slower=0.85),
    Scenario("good, p95 x0.95", slower=0.95),
    Scenario("good, exactly as fast"),
    Scenario("as fast, noise in groups of 20 by one key", group=20.0),
    Scenario("as fast, skewed keys with own latency", keys=10_000),
    Scenario("x0.85, skewed keys with own latency", slower=0.85, keys=10_000),
    Scenario("as fast, slow spells of 30 s, 2 % of the time", spells=0.02),
    Scenario("as fast, slow spells of 60 s, 5 % of the time", spells=0.05, spell_s=60.0),
    Scenario("as fast, slow spells of 5 min, 5 % of the time", spells=0.05, spell_s=300.0),
    Scenario("as fast, legacy fails 0.2 % alone", legacy_errors=0.002),
    Scenario("as fast, rows differ by chance, 3e-6", row_noise=3e-6),
    Scenario("as fast, all of it at once", **HARSH),
    Scenario("x0.95, all of it at once", slower=0.95, **HARSH),
    Scenario("x0.85, all of it at once", slower=0.85, **HARSH),
)

BAD: Final = (
    Scenario("wrong 0.2 %", good=False, wrong=0.002),
    Scenario("wrong 0.5 %", good=False, wrong=0.005),
    Scenario("wrong 0.5 %, all noise at once", good=False, wrong=0.005, **HARSH),
    Scenario("errors +0.3 %", good=False, errors=0.003),
    Scenario("errors 0.5 % beside the legacy's 0.2 %, all noise at once", good=False, errors=0.005, **HARSH),
    Scenario("rows 0.05 %", good=False, wrong_rows=5e-4),
    Scenario("rows 0.01 %", good=False, wrong_rows=1e-4),
    Scenario("wrong 2 % on a route with 1 % of the traffic", good=False, wrong=0.02, only_route=12),
    Scenario("random: wrong 1 %", good=False, random_wrong=0.01),
    Scenario("random: wrong 0.5 %", good=False, random_wrong=0.005),
    Scenario("random: errors 1 %", good=False, random_errors=0.01),
    Scenario("p95 x1.2", good=False, slower=1.2),
    Scenario("p95 x1.2, all noise at once", good=False, slower=1.2, **HARSH),
    Scenario("p95 x1.1", good=False, slower=1.1),
    Scenario("three times as slow in spells of 60 s, 10 % of the time", good=False, candidate_spells=0.1, spell_s=60.0),
    Scenario("three times as slow in spells of 60 s, 20 % of the time", good=False, candidate_spells=0.2, spell_s=60.0),
    Scenario(
        "three times as slow in spells of 10 min, 30 % of the time", good=False, candidate_spells=0.3, spell_s=600.0
    ),
    Scenario("wrong 0.5 % at night only", good=False, wrong=0.005, hours=(22, 6), daily=0.6),
    Scenario("wrong 0.5 % from the 20th hour on", good=False, wrong=0.005, from_hour=20.0),
    Scenario("wrong 0.2 % from the 20th hour on", good=False, wrong=0.002, from_hour=20.0),
    Scenario("10 % overlapped, 3 % of these wrong", good=False, overlapped=0.1, wrong_overlapped=0.03),
)
