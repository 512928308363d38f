-- Up to where each reader of a shared journal has read, and which process may say so: the one that holds the lease of the reader's name.
CREATE TABLE shadow.journal_reader (
    reader text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    lost bigint NOT NULL DEFAULT 0,
    live_us bigint NOT NULL DEFAULT 0
);
CREATE TABLE shadow.journal_offset (
    reader text NOT NULL REFERENCES shadow.journal_reader ON DELETE CASCADE,
    writer text NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (reader, writer)
);
