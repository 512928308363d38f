-- Comparisons whose verdict rests on the responses alone, by the reason for which rows were not compared; those of `total` include them.
CREATE TABLE shadow.response_only_total (
    day date NOT NULL,
    route text NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, route, verdict, reason)
);
