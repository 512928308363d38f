-- Verdicts, findings with their examples, and totals. Everything lives in a schema of its own.
CREATE TABLE shadow.comparison (
    served_at timestamptz NOT NULL,
    exchange_id text NOT NULL,
    route text NOT NULL,
    key_digest bigint,
    served_by text NOT NULL,
    stage text NOT NULL,
    verdict text NOT NULL,
    cause text NOT NULL,
    confirmed boolean,
    effects_compared boolean NOT NULL,
    effects_note text NOT NULL,
    served_status integer,
    mirrored_status integer,
    served_us bigint NOT NULL,
    mirrored_us bigint NOT NULL,
    rows_served integer NOT NULL,
    rows_mirrored integer NOT NULL,
    difference_count integer NOT NULL,
    detail bytea,
    compared_at timestamptz NOT NULL,
    PRIMARY KEY (served_at, exchange_id)
) PARTITION BY RANGE (served_at);

CREATE INDEX comparison_exchange ON shadow.comparison (exchange_id);
CREATE INDEX comparison_route ON shadow.comparison (route, served_at);
CREATE INDEX comparison_told_apart ON shadow.comparison (verdict, served_at) WHERE verdict <> 'match';

-- What is older or newer than any partition; `maintain` keeps the partitions ahead of time, so it stays small.
CREATE TABLE shadow.comparison_rest PARTITION OF shadow.comparison DEFAULT;

CREATE TABLE shadow.total (
    day date NOT NULL,
    route text NOT NULL,
    served_by text NOT NULL,
    verdict text NOT NULL,
    cause text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, route, served_by, verdict, cause)
);

CREATE TABLE shadow.known_total (
    day date NOT NULL,
    route text NOT NULL,
    declaration text NOT NULL,
    reason text NOT NULL,
    ticket text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, route, declaration)
);

CREATE TABLE shadow.finding (
    id text PRIMARY KEY,
    route text NOT NULL,
    kind text NOT NULL,
    place text NOT NULL,
    shape text NOT NULL,
    severity text NOT NULL,
    state text NOT NULL,
    state_by text NOT NULL,
    state_reason text NOT NULL,
    state_at timestamptz NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    count bigint NOT NULL,
    example text NOT NULL
);

CREATE TABLE shadow.finding_key (
    finding_id text NOT NULL REFERENCES shadow.finding (id) ON DELETE CASCADE,
    key_digest bigint NOT NULL,
    PRIMARY KEY (finding_id, key_digest)
);

CREATE TABLE shadow.finding_exemplar (
    finding_id text NOT NULL REFERENCES shadow.finding (id) ON DELETE CASCADE,
    slot integer NOT NULL,
    exchange_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (finding_id, slot)
);

CREATE TABLE shadow.evidence (
    route text NOT NULL,
    served_by text NOT NULL,
    taken_at timestamptz NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    summary bytea NOT NULL,
    PRIMARY KEY (route, served_by, taken_at)
);
