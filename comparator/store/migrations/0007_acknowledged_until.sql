-- A cause may be acknowledged until it has had so many exchanges, or until the end of a day; then it is open again.
ALTER TABLE shadow.cause
    ADD COLUMN owner text NOT NULL DEFAULT '',
    ADD COLUMN until_exchanges bigint,
    ADD COLUMN until_day date;
