-- Sessions and their logs. Times are milliseconds since 1970 (UTC), sizes are bytes.

CREATE TABLE log (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch    TEXT NOT NULL                 -- names this log; a restored backup gets another
) STRICT;
INSERT INTO log VALUES (1, lower(hex(randomblob(8))));

CREATE TABLE sessions (
    session_id        TEXT PRIMARY KEY,
    user              TEXT NOT NULL,       -- who owns it
    service           TEXT,                -- the backend that opened it for its user
    title             TEXT NOT NULL DEFAULT '',
    language          TEXT,                -- BCP 47
    conversation_id   TEXT,                -- ElevenLabs' id of the conversation bound last
    call_sid          TEXT,                -- the telephone call, where there is one
    created_at_ms     INTEGER NOT NULL,
    last_active_at_ms INTEGER NOT NULL,    -- to the minute, or a tenth of the ttl
    ended_at_ms       INTEGER,
    seq               INTEGER NOT NULL DEFAULT 0,   -- of the newest record
    first_seq         INTEGER NOT NULL DEFAULT 1,   -- of the oldest record kept
    log_bytes         INTEGER NOT NULL DEFAULT 0,   -- of the records kept
    cards             TEXT NOT NULL DEFAULT '[]'    -- seqs of what a late screen is shown, as JSON;
                                                    -- their records outlive the trimming of others
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user, created_at_ms);
CREATE INDEX sessions_by_age ON sessions (created_at_ms, session_id);
CREATE INDEX sessions_by_activity ON sessions (last_active_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE INDEX sessions_by_conversation ON sessions (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX sessions_by_call ON sessions (call_sid) WHERE call_sid IS NOT NULL;

CREATE TABLE records (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    sender     TEXT,                       -- with request_id: user, role and device, as JSON
    request_id TEXT,                       -- where the sender gave one
    type       TEXT NOT NULL,
    body       BLOB NOT NULL,              -- the JSON text that was sent, and is sent again
    PRIMARY KEY (session_id, seq)
) STRICT;

CREATE TABLE requests (                    -- of records that have been trimmed
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the record it made
    sender     TEXT NOT NULL,              -- user, role and device, as JSON
    request_id TEXT NOT NULL,
    type       TEXT NOT NULL,              -- of that record, for when it has been trimmed
    PRIMARY KEY (session_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE state (
    session_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB,                       -- compact JSON; NULL once deleted
    revision   INTEGER NOT NULL,           -- the seq that set it
    PRIMARY KEY (session_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE calls (
    session_id   TEXT NOT NULL,
    tool_call_id TEXT NOT NULL,
    seq          INTEGER NOT NULL,         -- of its client_tool_call record
    tool_name    TEXT NOT NULL,
    handled_by   TEXT NOT NULL,            -- server or screens
    status       TEXT NOT NULL,            -- waiting, released or closed
    asked_at_ms  INTEGER NOT NULL,
    deadline_ms  INTEGER,                  -- when the agent is answered at the latest
    result_seq   INTEGER,                  -- of its client_tool_result record
    body         BLOB NOT NULL,            -- the call's record while open, else empty
    PRIMARY KEY (session_id, tool_call_id)
) STRICT;
CREATE INDEX calls_running ON calls (session_id) WHERE handled_by = 'server' AND status = 'waiting';

CREATE TABLE due (
    session_id TEXT NOT NULL,
    kind       TEXT NOT NULL,              -- deadline
    ref        TEXT NOT NULL,              -- the tool_call_id
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (session_id, kind, ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX due_by_time ON due (at_ms);

CREATE TABLE trail (
    session_id TEXT NOT NULL,
    number     INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    event      TEXT NOT NULL,              -- joined, left, dropped, refused, …
    details    TEXT NOT NULL               -- JSON: role, user, device, close code, reason
) STRICT;
CREATE INDEX trail_by_session ON trail (session_id, number);
