"""The shadow runner: lets the other side do each served request against the shadow database, compares, and realigns.

Pure: `lanes` (who may run next), `ledger` (which committed changes belong to which exchange, and in which order everything
happens on the shadow), `targets` (what each touched row must become), `rewind` (what it was
before all that waits), `checkpoint` (how far journal and log may be let go). Shells: `intake` (reads the journal into the ledger), `runner`
(carries out what the ledger orders), `standing` (how far the shadow can be trusted, what both go by), `outcomes` (one for each
exchange), `sender` (one mirrored request), `align` (writes the shadow database), `resync` (brings a drifted shadow back), `admin`
(metrics and health of the runner process). Live is never delayed: all waiting is here.
"""
