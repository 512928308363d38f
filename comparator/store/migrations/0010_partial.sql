-- Comparisons whose verdict rests on rows except those of some tables, by these tables and the reasons: [["audit", "shared"]].
CREATE TABLE shadow.partial_total (
    day date NOT NULL,
    route text NOT NULL,
    verdict text NOT NULL,
    left_out text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, route, verdict, left_out)
);

-- Of the comparisons of a step, those whose rows are equal except for tables that were left out: they say nothing to the gates on rows.
ALTER TABLE shadow.step_count ADD COLUMN partial bigint NOT NULL DEFAULT 0;
