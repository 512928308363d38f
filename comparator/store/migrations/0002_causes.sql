-- Causes above findings, releases of both sides, and counts that are kept while writing so that nothing is counted when asked.

-- Distinct keys: the 512 smallest digests estimate how many there are (comparator.stats.distinct_sketch).
CREATE FUNCTION shadow.merge_keys(held bigint[], added bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN added <@ held THEN held
        WHEN cardinality(held) >= 512 AND held[512] < (SELECT min(key) FROM unnest(added) AS key) THEN held
        ELSE (
            SELECT coalesce(array_agg(key ORDER BY key), '{}')
            FROM (SELECT DISTINCT key FROM unnest(held || added) AS key ORDER BY key LIMIT 512) AS smallest
        )
    END
$$;

CREATE FUNCTION shadow.distinct_keys(held bigint[]) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(held) < 512 THEN cardinality(held)
        ELSE round(511 * 18446744073709551616 / (held[512]::numeric + 9223372036854775809))
    END::bigint
$$;

ALTER TABLE shadow.comparison
    ADD COLUMN finding_set text,
    ADD COLUMN release text NOT NULL DEFAULT '';
CREATE INDEX comparison_finding_set ON shadow.comparison (finding_set, served_at) WHERE finding_set IS NOT NULL;

ALTER TABLE shadow.finding
    ADD COLUMN source_table text NOT NULL DEFAULT '',
    ADD COLUMN discriminator text NOT NULL DEFAULT '',
    ADD COLUMN keys bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN first_release text NOT NULL DEFAULT '',
    ADD COLUMN last_release text NOT NULL DEFAULT '',
    ADD COLUMN fixed_in text NOT NULL DEFAULT '',
    ADD COLUMN regressed_in text NOT NULL DEFAULT '';
UPDATE shadow.finding SET keys = coalesce((
    SELECT array_agg(key ORDER BY key) FROM (
        SELECT key_digest AS key FROM shadow.finding_key WHERE finding_id = finding.id ORDER BY key LIMIT 512
    ) AS smallest
), '{}');
DROP TABLE shadow.finding_key;

-- Releases that were seen, `candidate / legacy`, and what was compared of each.
CREATE TABLE shadow.release (
    label text PRIMARY KEY,
    candidate text NOT NULL,
    legacy text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL
);
CREATE TABLE shadow.release_total (
    day date NOT NULL,
    route text NOT NULL,
    release text NOT NULL,
    compared bigint NOT NULL,
    PRIMARY KEY (day, route, release)
);

-- Counts by ten minutes, for what a rollback would cost.
CREATE TABLE shadow.slot_total (
    slot timestamptz NOT NULL,
    route text NOT NULL,
    served_by text NOT NULL,
    requests bigint NOT NULL,
    compared bigint NOT NULL,
    mismatches bigint NOT NULL,
    row_mismatches bigint NOT NULL,
    mirrored_errors bigint NOT NULL,
    rows_served bigint NOT NULL,
    PRIMARY KEY (slot, route, served_by)
);

-- Sketches of durations in microseconds (comparator.stats.quantile_sketch), of exchanges that were compared.
CREATE TABLE shadow.duration_total (
    day date NOT NULL,
    route text NOT NULL,
    served_by text NOT NULL,
    served bytea NOT NULL,
    mirrored bytea NOT NULL,
    PRIMARY KEY (day, route, served_by)
);

-- Distinct keys of all comparisons.
CREATE TABLE shadow.key_total (
    day date NOT NULL,
    route text NOT NULL,
    keys bigint[] NOT NULL,
    PRIMARY KEY (day, route)
);

-- Sets of findings that occurred together in one exchange: what causes are solved from.
CREATE TABLE shadow.finding_set (
    id text PRIMARY KEY,
    route text NOT NULL,
    findings text[] NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    first_release text NOT NULL,
    last_release text NOT NULL,
    keys bigint[] NOT NULL,
    count bigint NOT NULL
);
CREATE TABLE shadow.finding_set_total (
    set_id text NOT NULL REFERENCES shadow.finding_set (id) ON DELETE CASCADE,
    day date NOT NULL,
    release text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (set_id, day, release)
);
CREATE TABLE shadow.finding_set_exemplar (
    set_id text PRIMARY KEY REFERENCES shadow.finding_set (id) ON DELETE CASCADE,
    exchange_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    body bytea NOT NULL
);

CREATE TABLE shadow.cause (
    id text PRIMARY KEY,
    body bytea NOT NULL,
    severity text NOT NULL,
    provisional boolean NOT NULL,
    state text NOT NULL,
    state_by text NOT NULL DEFAULT '',
    state_reason text NOT NULL DEFAULT '',
    state_at timestamptz NOT NULL,
    covered text[] NOT NULL DEFAULT '{}',
    routes text[] NOT NULL,
    findings text[] NOT NULL,
    exchanges bigint NOT NULL,
    keys bigint NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    first_release text NOT NULL,
    last_release text NOT NULL,
    fixed_in text NOT NULL DEFAULT '',
    regressed_in text NOT NULL DEFAULT '',
    merged_into text
);
CREATE TABLE shadow.cause_set (
    cause_id text NOT NULL REFERENCES shadow.cause (id) ON DELETE CASCADE,
    set_id text NOT NULL REFERENCES shadow.finding_set (id) ON DELETE CASCADE,
    PRIMARY KEY (cause_id, set_id)
);
CREATE INDEX cause_set_of_set ON shadow.cause_set (set_id);

-- One row: when causes were solved last, and from how many exchanges.
CREATE TABLE shadow.cause_solution (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    solved_at timestamptz NOT NULL,
    exchanges bigint NOT NULL,
    sets integer NOT NULL
);
