"""Captured traffic, played again: against one side for its speed and answers, against both for their differences.

    SOURCE ──sources/──> Recorded ──schedule──> Due ──player──> side(s) ──> Tally ──report──> text, JSON, HTML

`sources/` reads other programs' recordings and writes them, `schedule` decides what is sent when (pure), `credentials` puts usable
secrets where the recording has digests (pure), `player` sends, `tally` counts, `report` and `page` say what was found (pure),
`both` compares the two sides from one state of the shadow database, `snapshot` makes that state repeatable (`transfer` carries it
between servers), `sameness` says whether two replays found the same, `command` is `shadow replay`. `generate_command` makes a recording
of requests that nobody has sent; `arrivals` gives them ids and times (pure).
"""
