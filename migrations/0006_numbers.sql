-- Sessions get a short number, which their records are found by, and a narrow row that each
-- commit moves on; what the log adds up to is noted now and then instead of with each record.

CREATE TABLE numbered (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    session_id        TEXT NOT NULL UNIQUE,
    user              TEXT NOT NULL,       -- who owns it
    service           TEXT,                -- the backend that opened it for its user
    title             TEXT NOT NULL DEFAULT '',
    language          TEXT,                -- BCP 47
    conversation_id   TEXT,                -- ElevenLabs' id of the conversation bound last
    created_at_ms     INTEGER NOT NULL,
    last_active_at_ms INTEGER NOT NULL,    -- to the minute, or a tenth of the ttl
    ended_at_ms       INTEGER,
    is_call           INTEGER NOT NULL DEFAULT 0          -- opened by a telephone call
) STRICT;
INSERT INTO numbered (session_id, user, service, title, language, conversation_id, created_at_ms,
        last_active_at_ms, ended_at_ms, is_call)
    SELECT session_id, user, service, title, language, conversation_id, created_at_ms,
        last_active_at_ms, ended_at_ms, is_call
    FROM sessions ORDER BY created_at_ms, session_id;

CREATE TABLE tips (                        -- the fence: a unit is stored only on top of `seq`
    number    INTEGER PRIMARY KEY,
    seq       INTEGER NOT NULL,            -- of the newest record
    first_seq INTEGER NOT NULL,            -- of the oldest record shown
    is_open   INTEGER NOT NULL             -- 0 once the session has ended
) STRICT;
INSERT INTO tips
    SELECT number, seq, first_seq, sessions.ended_at_ms IS NULL
    FROM numbered JOIN sessions USING (session_id);

CREATE TABLE folds (                       -- what the records up to `seq` added up to
    number INTEGER PRIMARY KEY,
    seq    INTEGER NOT NULL,
    cards  TEXT NOT NULL,                  -- seqs of what a late screen is shown, as JSON
    locked TEXT NOT NULL                   -- [[seqs of cards], [state keys]] as JSON, or empty
) STRICT;
INSERT INTO folds
    SELECT number, seq, cards, locked
    FROM numbered JOIN sessions USING (session_id) WHERE seq > 0;

CREATE TABLE numbered_records (
    number     INTEGER NOT NULL,           -- of the session
    seq        INTEGER NOT NULL,
    sender     TEXT,                       -- with request_id: user, role and device, as JSON
    request_id TEXT,                       -- where the sender gave one
    type       TEXT NOT NULL,
    body       BLOB NOT NULL,              -- the JSON text that was sent, and is sent again
    PRIMARY KEY (number, seq)
) STRICT;
INSERT INTO numbered_records
    SELECT number, seq, sender, request_id, type, body
    FROM records JOIN numbered USING (session_id) ORDER BY number, seq;

CREATE TABLE numbered_requests (           -- of records that have been trimmed
    number     INTEGER NOT NULL,           -- of the session
    seq        INTEGER NOT NULL,           -- of the record it made
    sender     TEXT NOT NULL,              -- user, role and device, as JSON
    request_id TEXT NOT NULL,
    type       TEXT NOT NULL,              -- of that record, for when it has been trimmed
    PRIMARY KEY (number, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO numbered_requests
    SELECT number, seq, sender, request_id, type
    FROM requests JOIN numbered USING (session_id) ORDER BY number, seq;

DROP TABLE requests;
DROP TABLE records;
DROP TABLE sessions;
ALTER TABLE numbered RENAME TO sessions;
ALTER TABLE numbered_records RENAME TO records;
ALTER TABLE numbered_requests RENAME TO requests;
CREATE INDEX sessions_by_user ON sessions (user, created_at_ms);
CREATE INDEX sessions_by_age ON sessions (created_at_ms, session_id);
CREATE INDEX sessions_by_activity ON sessions (last_active_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
