-- Who may: issued tokens and what is refused of them, pairings, devices, remembered answers.
-- No secret lies here in the clear: no token text, no ticket, no code.

CREATE TABLE tokens (
    token_id      TEXT PRIMARY KEY,
    kind          TEXT NOT NULL,           -- user, service, admin or session
    user          TEXT NOT NULL,
    session_id    TEXT,                    -- of a session token
    role          TEXT,
    issued_at_ms  INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_user ON tokens (user);
CREATE INDEX tokens_by_session ON tokens (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE revocations (
    kind     TEXT NOT NULL,                -- token, device, or user (a keyed hash of the name)
    ref      TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,             -- of a user: tokens issued until then are dead
    until_ms INTEGER NOT NULL,             -- when everything it refuses has expired anyway
    PRIMARY KEY (kind, ref)
) STRICT, WITHOUT ROWID;

CREATE TABLE pairings (
    pairing_id    TEXT PRIMARY KEY,
    session_id    TEXT NOT NULL,
    user          TEXT NOT NULL,           -- who owns the session
    ticket_hash   BLOB NOT NULL UNIQUE,    -- SHA-256
    expires_at_ms INTEGER NOT NULL,
    used_at_ms    INTEGER
) STRICT;
CREATE INDEX pairings_by_session ON pairings (session_id);

CREATE TABLE codes (
    session_id    TEXT PRIMARY KEY,        -- one live code per session
    user          TEXT NOT NULL,
    pairing_id    TEXT NOT NULL,           -- the pairing that showed it last
    nonce         TEXT NOT NULL,           -- with the key, the code can be derived again
    code_hash     BLOB NOT NULL UNIQUE,    -- HMAC-SHA-256 under a key kept outside
    expires_at_ms INTEGER NOT NULL,
    used_at_ms    INTEGER
) STRICT;

CREATE TABLE devices (
    device_id         TEXT PRIMARY KEY,
    session_id        TEXT NOT NULL,
    user              TEXT NOT NULL,
    label             TEXT NOT NULL,
    created_at_ms     INTEGER NOT NULL,
    last_active_at_ms INTEGER NOT NULL,
    token_until_ms    INTEGER NOT NULL,    -- its newest token dies then
    revoked_at_ms     INTEGER
) STRICT;
CREATE INDEX devices_by_session ON devices (session_id);
CREATE INDEX devices_by_user ON devices (user);

CREATE TABLE claims (                      -- devices that wait for the owner's yes
    pairing_id    TEXT PRIMARY KEY,
    claim_hash    BLOB NOT NULL UNIQUE,    -- SHA-256
    session_id    TEXT NOT NULL,
    user          TEXT NOT NULL,
    label         TEXT NOT NULL,
    verification  TEXT NOT NULL,           -- two digits both sides show
    expires_at_ms INTEGER NOT NULL,
    allowed       INTEGER,                 -- NULL while nobody has answered
    used_at_ms    INTEGER
) STRICT;
CREATE INDEX claims_by_session ON claims (session_id);

CREATE TABLE sign_ins (
    ticket_hash   BLOB PRIMARY KEY,        -- SHA-256
    user          TEXT NOT NULL,
    kind          TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE answers (                     -- of requests that carried an Idempotency-Key
    scope         BLOB NOT NULL,           -- hash of who asked, the route and the key
    request_hash  BLOB NOT NULL,
    user          TEXT NOT NULL,
    session_id    TEXT,
    memory        TEXT NOT NULL,           -- JSON of what was made; secrets are derived again
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (scope)
) STRICT, WITHOUT ROWID;
