-- Exchanges of each cause by hour, kept while verdicts are stored and when causes are solved again (comparator.store.cause_hours).
CREATE TABLE shadow.cause_hour (
    cause_id text NOT NULL REFERENCES shadow.cause (id) ON DELETE CASCADE,
    hour timestamptz NOT NULL,
    served_by text NOT NULL,
    stage text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (cause_id, hour, served_by, stage)
);
CREATE INDEX cause_hour_time ON shadow.cause_hour (hour);
INSERT INTO shadow.cause_hour
SELECT cause_set.cause_id, date_bin('1 hour', part.slot, 'epoch'), part.served_by, part.stage, sum(part.count)
FROM shadow.cause_set JOIN shadow.finding_set_slot AS part USING (set_id)
GROUP BY 1, 2, 3, 4;

-- Verdicts by ten minutes, so that charts of days do not add up minutes.
ALTER TABLE shadow.slot_total
    ADD COLUMN known bigint NOT NULL DEFAULT 0,
    ADD COLUMN transient bigint NOT NULL DEFAULT 0,
    ADD COLUMN effects_compared bigint NOT NULL DEFAULT 0;
UPDATE shadow.slot_total SET known = counted.known, transient = counted.transient, effects_compared = counted.effects_compared
FROM (
    SELECT date_bin('10 minutes', minute, 'epoch') AS slot, route, served_by, sum(known) AS known, sum(transient) AS transient,
        sum(effects_compared) AS effects_compared
    FROM shadow.step_count GROUP BY 1, 2, 3
) AS counted
WHERE counted.slot = slot_total.slot AND counted.route = slot_total.route AND counted.served_by = slot_total.served_by;

-- Durations of each side by ten minutes and bucket (comparator.stats.duration_buckets), served and mirrored together.
CREATE TABLE shadow.slot_duration (
    slot timestamptz NOT NULL,
    side text NOT NULL,
    bucket integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (slot, side, bucket)
);
INSERT INTO shadow.slot_duration
SELECT date_bin('10 minutes', minute, 'epoch'),
    CASE WHEN role = 'served' THEN served_by WHEN served_by = 'candidate' THEN 'legacy' ELSE 'candidate' END, bucket, sum(count)
FROM shadow.step_duration GROUP BY 1, 2, 3;

-- Comparisons in which each rule allowed a difference, and those in which it had expired, by its path in config.yaml.
CREATE TABLE shadow.rule_total (
    day date NOT NULL,
    route text NOT NULL,
    rule text NOT NULL,
    hits bigint NOT NULL,
    expired bigint NOT NULL,
    PRIMARY KEY (day, route, rule)
);

-- Distinct keys of all routes together, as the route "".
INSERT INTO shadow.key_total (day, route, keys)
SELECT day, '', (
    SELECT coalesce(array_agg(key ORDER BY key), '{}') FROM (
        SELECT DISTINCT key FROM shadow.key_total AS own, unnest(own.keys) AS key WHERE own.day = days.day ORDER BY key LIMIT 512
    ) AS smallest
)
FROM (SELECT DISTINCT day FROM shadow.key_total) AS days;

-- Charts ask by time alone.
CREATE INDEX step_count_minute ON shadow.step_count (minute);
CREATE INDEX step_duration_minute ON shadow.step_duration (minute);
