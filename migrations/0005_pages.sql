-- What the inspector looks for first: trouble, and how long tools take. Both are sums of the
-- records that are kept, and go with them.

CREATE TABLE troubles (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the call or card that it is about
    kind       TEXT NOT NULL,              -- failed, slow or no_screen
    PRIMARY KEY (session_id, seq, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX troubles_by_kind ON troubles (kind, session_id);

CREATE TABLE tool_times (
    number     INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the call
    tool_name  TEXT NOT NULL,
    took_ms    INTEGER                     -- until its answer; NULL where nothing answered it
) STRICT;
CREATE UNIQUE INDEX tool_times_by_call ON tool_times (session_id, seq);
