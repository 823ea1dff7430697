-- What the inspector looks for first: trouble, and how long tools take. Both are sums of the
-- records that are kept, and go with them.

CREATE TABLE troubles (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the call or card that it is about
    kind       TEXT NOT NULL,              -- failed, slow or no_screen
    tool_name  TEXT NOT NULL,              -- of the call, else empty
    PRIMARY KEY (session_id, seq, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX troubles_by_kind ON troubles (kind, session_id);
CREATE INDEX troubles_by_tool ON troubles (tool_name, kind);

CREATE TABLE tool_times (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the call
    tool_name  TEXT NOT NULL,
    took_ms    INTEGER,                    -- until its answer; NULL where nothing answered it
    PRIMARY KEY (session_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX tool_times_by_time ON tool_times (tool_name, took_ms);  -- percentiles without sorting
-- Questions of agents without a connection: answers that nobody has heard, and durable handles.

CREATE TABLE unheard (                     -- asked, and the asker has not been given the answer
    session_id   TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    tool_call_id TEXT NOT NULL,
    PRIMARY KEY (session_id, tool_call_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (                       -- a handle on a question, for whoever asked it
    handle_hash   BLOB PRIMARY KEY,        -- SHA-256; the handle itself is with its owner alone
    session_id    TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    user          TEXT NOT NULL,           -- who asked
    tool_call_id  TEXT NOT NULL,           -- the call that asks; another when it is asked again
    asked         TEXT NOT NULL,           -- tool and parameters, as JSON
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    until_ms      INTEGER NOT NULL,        -- nobody finds it after that
    status        TEXT NOT NULL,           -- working, completed or cancelled
    is_shown_in   INTEGER NOT NULL DEFAULT 0,  -- whether the way to the screen has been answered
    result        TEXT                     -- what it came to, as JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_session ON tasks (session_id, created_at_ms);

-- Pictures that cards name by address: fetched once, and served from here while the session lives.

CREATE TABLE pictures (
    session_id TEXT NOT NULL,
    url        TEXT NOT NULL,              -- as the card has it
    seq        INTEGER NOT NULL,           -- of the newest record that names it
    media_id   TEXT UNIQUE,                -- what screens ask for; NULL where it was not fetched
    lent_at_ms INTEGER NOT NULL,           -- when the id was made
    media_type TEXT,
    width      INTEGER,
    height     INTEGER,
    problem    TEXT,                       -- why it was not fetched, in words
    body       BLOB,                       -- as it came
    PRIMARY KEY (session_id, url)
) STRICT;

-- Links that are sent to callers: whom, and how often.

CREATE TABLE call_numbers (                -- whom the newest call of a session is with
    session_id TEXT PRIMARY KEY,
    number     TEXT NOT NULL               -- E.164
) STRICT, WITHOUT ROWID;

CREATE TABLE sent_links (                  -- kept for a day, whatever becomes of the session
    pairing_id  TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL,
    number_hash BLOB NOT NULL,             -- SHA-256 of the number
    sent_at_ms  INTEGER NOT NULL,
    is_sent     INTEGER NOT NULL DEFAULT 0 -- whether the command said so
) STRICT, WITHOUT ROWID;
