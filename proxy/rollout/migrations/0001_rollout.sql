-- Where each group's rollout stands, and the log of every decision.
CREATE TABLE shadow.rollout_state (
    group_name text PRIMARY KEY,
    epoch bigint NOT NULL,
    latched boolean NOT NULL,
    version bigint NOT NULL,
    changed_at text COLLATE "C" NOT NULL,
    state text NOT NULL
);

CREATE TABLE shadow.rollout_audit (
    sequence bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    body text NOT NULL,
    previous text NOT NULL,
    hash text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION shadow.rollout_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shadow_rollout', NEW.group_name);
    RETURN NULL;
END
$$;
CREATE TRIGGER announce AFTER INSERT OR UPDATE ON shadow.rollout_state
FOR EACH ROW EXECUTE FUNCTION shadow.rollout_announce();

CREATE FUNCTION shadow.rollout_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON shadow.rollout_audit
FOR EACH STATEMENT EXECUTE FUNCTION shadow.rollout_audit_is_append_only();
