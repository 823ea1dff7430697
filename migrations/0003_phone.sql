-- Agents that hear from a screen only when they ask: telephone calls, MCP.

CREATE TABLE callers (
    caller     TEXT NOT NULL,              -- number that calls, E.164
    called     TEXT NOT NULL,              -- number that was called
    session_id TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (caller, called)
) STRICT, WITHOUT ROWID;
CREATE INDEX callers_by_session ON callers (session_id);

CREATE TABLE told (
    session_id TEXT PRIMARY KEY REFERENCES sessions (session_id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL            -- up to here the agent knows what screens did
) STRICT, WITHOUT ROWID;
