"""Simulate rollouts on traffic as it is: false rollbacks and hours of good candidates, exposure to bad ones, beside other tools' rules.

`world` draws what happens in a minute for many rollouts at once: requests by route, mismatches in groups of one key, lone errors, row
noise, latency of keys and slow spells, day and night, bursts, overlapped requests. `fast_gates` is the vectorised form of
proxy.rollout.gates; a property test holds it equal to the gates. `rollouts` moves the rollouts by it. `rivals` applies simple forms of the
rules of Argo Rollouts, Flagger and Kayenta to the same world. `scenarios` names the candidates. `__main__` prints the table.

    python -m bench.rollout --runs 1000 --rates 1 10 100
"""
