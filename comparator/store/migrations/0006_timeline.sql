-- When each step of a compared exchange happened (comparator.store.timeline), and how the exchanges of a cause are spread over time.
ALTER TABLE shadow.comparison ADD COLUMN timeline bytea;
ALTER TABLE shadow.comparison ADD COLUMN stored_at timestamptz;
ALTER TABLE shadow.comparison ALTER COLUMN stored_at SET DEFAULT now();

-- Exchanges of each set of findings by slot: of ten seconds for some hours, then of ten minutes (comparator.store.finding_sets).
CREATE TABLE shadow.finding_set_slot (
    set_id text NOT NULL REFERENCES shadow.finding_set (id) ON DELETE CASCADE,
    slot timestamptz NOT NULL,
    served_by text NOT NULL,
    stage text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (set_id, slot, served_by, stage)
);
CREATE INDEX finding_set_slot_time ON shadow.finding_set_slot (slot);
