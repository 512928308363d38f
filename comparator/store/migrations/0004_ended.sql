-- Which exchanges ended, by the number that their writer gave them: committed with the verdicts, so that what is missing can be named.
CREATE TABLE shadow.ended (
    runner text NOT NULL,
    writer text NOT NULL,
    numbers int8multirange NOT NULL,
    PRIMARY KEY (runner, writer)
);
CREATE TABLE shadow.ended_total (
    runner text NOT NULL,
    writer text NOT NULL,
    outcome text NOT NULL,
    cause text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (runner, writer, outcome, cause)
);
