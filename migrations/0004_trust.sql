-- Telephone calls and conversations: every id a session ever had leads to it.

CREATE TABLE bindings (
    kind        TEXT NOT NULL,             -- conversation (ElevenLabs' id) or call (a call's sid)
    ref         TEXT NOT NULL,
    session_id  TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    bound_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, ref, session_id)    -- of sessions that live, one at most
) STRICT, WITHOUT ROWID;
CREATE INDEX bindings_by_session ON bindings (session_id, bound_at_ms);
INSERT INTO bindings SELECT 'conversation', conversation_id, session_id, created_at_ms
    FROM sessions WHERE conversation_id IS NOT NULL;
INSERT INTO bindings SELECT 'call', call_sid, session_id, created_at_ms
    FROM sessions WHERE call_sid IS NOT NULL;
DROP INDEX sessions_by_conversation;
DROP INDEX sessions_by_call;
ALTER TABLE sessions DROP COLUMN call_sid;
ALTER TABLE sessions ADD COLUMN is_call INTEGER NOT NULL DEFAULT 0;  -- opened by a telephone call

CREATE TABLE called_sessions (
    caller     TEXT NOT NULL,              -- number that calls, E.164
    called     TEXT NOT NULL,              -- number that was called, or what stands for it
    session_id TEXT NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (caller, called, session_id)
) STRICT, WITHOUT ROWID;
INSERT INTO called_sessions SELECT caller, called, session_id, seen_at_ms FROM callers;
UPDATE sessions SET is_call = 1 WHERE session_id IN (SELECT session_id FROM callers);
DROP TABLE callers;
ALTER TABLE called_sessions RENAME TO callers;
CREATE INDEX callers_by_session ON callers (session_id);

CREATE TABLE phone_calls (                 -- under way
    session_id  TEXT PRIMARY KEY REFERENCES sessions (session_id) ON DELETE CASCADE,
    began_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- A call sent again is told from another of the same id; a call may join an open question.

ALTER TABLE calls ADD COLUMN content BLOB NOT NULL DEFAULT x'';  -- hash of tool and parameters
ALTER TABLE calls ADD COLUMN joins TEXT;  -- the tool_call_id whose question it asks once more
-- A deleted state key leaves nothing; answers to an Idempotency-Key count for their session.

DELETE FROM state WHERE value IS NULL;
CREATE INDEX answers_by_session ON answers (session_id, expires_at_ms) WHERE session_id IS NOT NULL;
CREATE INDEX answers_by_user ON answers (user, expires_at_ms) WHERE session_id IS NULL;
-- Choices that an agent has closed: [[seqs of cards], [state keys]] as JSON, or empty.

ALTER TABLE sessions ADD COLUMN locked TEXT NOT NULL DEFAULT '';

-- A session token dies with the token that made it; a pairing is one seat, however often drawn.

ALTER TABLE tokens ADD COLUMN until_ms INTEGER;      -- its absolute end, however often renewed
ALTER TABLE tokens ADD COLUMN parent TEXT;           -- id of the token that made it
ALTER TABLE tokens ADD COLUMN made_by TEXT;          -- the user of that token
CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;
ALTER TABLE pairings ADD COLUMN seat TEXT;           -- shared by what one first use ends
ALTER TABLE pairings ADD COLUMN has_code INTEGER NOT NULL DEFAULT 1;  -- drawn beside the code
ALTER TABLE pairings ADD COLUMN parent TEXT;         -- id of the token that opened it
ALTER TABLE pairings ADD COLUMN made_by TEXT;        -- the user of that token
ALTER TABLE codes ADD COLUMN seat TEXT;
ALTER TABLE codes ADD COLUMN parent TEXT;
ALTER TABLE codes ADD COLUMN made_by TEXT;
UPDATE pairings SET seat = session_id;
UPDATE codes SET seat = session_id;
ALTER TABLE claims ADD COLUMN parent TEXT;
ALTER TABLE claims ADD COLUMN made_by TEXT;
ALTER TABLE devices ADD COLUMN parent TEXT;
ALTER TABLE devices ADD COLUMN made_by TEXT;
CREATE INDEX devices_by_parent ON devices (parent) WHERE parent IS NOT NULL;
-- Which device has shown which question, and what of a record it could not show.

CREATE TABLE rendered (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,           -- of the record
    device     TEXT NOT NULL,              -- device_id of a paired phone, else empty
    at_ms      INTEGER NOT NULL,
    problem    TEXT,                       -- in words
    PRIMARY KEY (session_id, seq, device)
) STRICT, WITHOUT ROWID;
