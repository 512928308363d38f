-- The evidence of rollout steps, which the gates read: counts by stage and minute, kept while verdicts are stored.
DROP TABLE shadow.evidence;

CREATE TABLE shadow.step_count (
    stage text NOT NULL,
    minute timestamptz NOT NULL,
    route text NOT NULL,
    served_by text NOT NULL,
    match bigint NOT NULL,
    known bigint NOT NULL,
    mismatch bigint NOT NULL,
    transient bigint NOT NULL,
    failed bigint NOT NULL,
    pairs bigint NOT NULL,
    judged bigint NOT NULL,
    effects_compared bigint NOT NULL,
    PRIMARY KEY (stage, minute, route, served_by)
);

-- Comparisons with a property (comparator.store.step_evidence.HitKind), by client.
CREATE TABLE shadow.step_hit (
    stage text NOT NULL,
    minute timestamptz NOT NULL,
    route text NOT NULL,
    kind text NOT NULL,
    client bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (stage, minute, route, kind, client)
);

-- Exchanges that were not compared; a cause that begins with `dropped` was counted by a proxy.
CREATE TABLE shadow.step_skip (
    stage text NOT NULL,
    minute timestamptz NOT NULL,
    route text NOT NULL,
    cause text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (stage, minute, route, cause)
);

-- Durations by bucket (comparator.stats.duration_buckets), of comparisons that both sides answered.
CREATE TABLE shadow.step_duration (
    stage text NOT NULL,
    minute timestamptz NOT NULL,
    served_by text NOT NULL,
    role text NOT NULL,
    bucket integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (stage, minute, served_by, role, bucket)
);

-- Blocks of minutes whose latency was compared (proxy.rollout.latency_blocks).
CREATE TABLE shadow.step_block (
    stage text NOT NULL,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    log_ratio double precision NOT NULL,
    PRIMARY KEY (stage, begins)
);

-- The counter of drops on each metrics page of a proxy, as it was read last.
CREATE TABLE shadow.drop_counter (
    page text NOT NULL,
    route text NOT NULL,
    total bigint NOT NULL,
    PRIMARY KEY (page, route)
);

-- How often a client with several hits was compared at all.
CREATE INDEX comparison_key ON shadow.comparison (key_digest, served_at);
