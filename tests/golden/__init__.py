"""Replay of recorded scenarios of the legacy against the scorer, compared by the project's own comparator.

A scenario holds seed rows, requests, the legacy's responses and the rows that the legacy changed.

    scenario                    read a scenario file
    database                    seed a database for it, and take snapshots of all rows
    upstream                    respond in place of the services that the scorer calls
    serving, wire               start the scorer, and send requests byte for byte
    replay                      run the steps
    identities, times, textual  convert the recording's ids, times and values to those of this run
    judge, races                compare one step
    known, evidence             the differences that config.yaml declares, and what their conditions look at
    run, report                 run a folder of scenarios, and print the results
"""
