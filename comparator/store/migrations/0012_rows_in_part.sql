-- What verdicts rest on, for the pages: the rows of all tables (`rows_whole`), those of some tables (`rows_in_part`), or the responses alone.
ALTER TABLE shadow.comparison ADD COLUMN rows_in_part boolean NOT NULL DEFAULT false;
ALTER TABLE shadow.step_count
    ADD COLUMN rows_whole bigint NOT NULL DEFAULT 0,
    ADD COLUMN rows_in_part bigint NOT NULL DEFAULT 0;
UPDATE shadow.step_count SET rows_whole = effects_compared, rows_in_part = partial;
ALTER TABLE shadow.slot_total ADD COLUMN rows_in_part bigint NOT NULL DEFAULT 0;
UPDATE shadow.slot_total SET rows_in_part = least(counted.rows_in_part, effects_compared)
FROM (
    SELECT date_bin('10 minutes', minute, 'epoch') AS slot, route, served_by, sum(rows_in_part) AS rows_in_part
    FROM shadow.step_count GROUP BY 1, 2, 3
) AS counted
WHERE counted.slot = slot_total.slot AND counted.route = slot_total.route AND counted.served_by = slot_total.served_by;
