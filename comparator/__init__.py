"""The comparator: decide what two sides' observations of one request mean. It imports neither the proxy nor the scorer.

    live log   --> capture --.                             .--> store --> report, queries
                             +--> verdict.Comparator ------+--> findings (clusters of like differences)
    shadow log --> capture --'      uses responses,        '--> metrics
                                    effects and rules

- `verdict.Comparator` is the entry: compiled once from the section `compare:`, it turns two observations into a `Comparison`.
- `exchanges` has the values of everything: exchanges, row changes, differences. `settings` and `tables` are sections of config.yaml,
  in which `table_names` has the one spelling of each table's name.
- `responses` compares status, headers and bodies; `effects` compares committed rows; `rules` decides which differences are allowed.
- `findings` and `stats` conclude from many comparisons. `live_rules` holds the rules in force while a process runs.
- `capture` turns a database's write-ahead log into row changes and attributes them to requests.
- `store` keeps comparisons and findings in PostgreSQL; `postgres` connects and migrates; `metrics` counts.

Everything but `capture`, `store`, `postgres` and `metrics` is pure: no I/O, no clock, no chance. import-linter checks it, and the layers
(pyproject.toml).
"""
