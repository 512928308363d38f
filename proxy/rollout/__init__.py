"""The rollout: the steps of each route group, the gates between them, and the rollback.

Pure: `state_machine` (the one table of phases and events), `group_state` (states that every process merges alike), `traffic_split`
(the side that serves a bucket) and `buckets`, `gates` over `evidence` (`gate_measure`, `alpha_spending`, `latency_blocks`), `assessment` (all gates of a
group), `plan`, `audit` (the chained log), `alertmanager`, `notifications`, `rollback_impact`.

With I/O: `control` makes every change. `switch` is the latch of one machine, which works with everything else down. `replica` is one
process's copy of the states, in memory, on disk (`statefile`, by the threads of `disk`) and in the database (`store`); `peers` exchanges
them between proxies.
`controller` judges on a timer what `evidence_collector` reads (`evidence_sql`, `accounting`); `rollback_impact_collector` determines
the cost of a rollback. `notifier` sends notifications, `auth` authorizes, `http_api` has all of it on the admin port, `metrics` exports
it, and `service` builds it for a proxy process. The commands (proxy.cli.rollout) send changes to running proxies through
`admin_client`, and open the same `control` over this machine's files.

    shadow rollback    -> proxy.cli.rollout -+-> control -> switch, replica -> statefile, store
    POST /rollback     -> http_api ----------+
    controller, alerts ----------------------+

Two rules hold everywhere. A promotion is stored before it takes effect; a rollback takes effect before it is stored. And a state is
superseded only by one of higher rank (epoch, latch, version), so a process that was cut off cannot undo a rollback.
"""
