"""Who serves: the steps of each route group, the gates between them, and the way back.

What is decided is pure: `machine` (the one table of phases and events), `state` (states that merge alike everywhere), `plan` (which side
serves a bucket), `gates` over `measured` (may a step be left, must it be), `audit` (the chained log), `alerts`, `messages`.

What acts: `control` makes every change, by whomever; `switch` is the latch of one machine, which works with everything else down;
`replica` is one process's copy of the states (memory, `statefile`, database through `store`), `peers` exchanges them between proxies;
`controller` judges on a timer what `measuring` reads (`evidence_sql`, `scraping`); `readiness` says what rolling back would lose;
`telling` sends messages; `access` decides who may, `endpoints` is all of it over HTTP; `service` builds it for a proxy process.
The commands (`*_command`) ask running proxies through `asking`, or work on this machine's files through `offline`.

Two rules hold everywhere. A promotion is stored before it takes effect; a rollback takes effect before it is stored. And a state gives
way only to one of higher rank (epoch, rolled back, version), so nobody who was cut off can undo a rollback.
"""
