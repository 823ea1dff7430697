-- Servers that share this database. Each has a lease, each open session is of one server, and what
-- all of them have to know is news. Leases are judged by this database's clock.

DROP TABLE owner;

CREATE TABLE nodes (
    node TEXT COLLATE "C" PRIMARY KEY,     -- a lease that ran out is never renewed: a new name
    url TEXT COLLATE "C" NOT NULL,         -- where the other servers reach it
    until TIMESTAMPTZ NOT NULL,            -- its lease
    began_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    heard BIGINT NOT NULL DEFAULT 0,       -- the newest of the news it has acted on
    key_mark TEXT COLLATE "C" NOT NULL     -- of the signing key, which all of them share
) WITH (fillfactor = 50);

-- Who may write a session: a generation is as long as one server has it, or has read it.
ALTER TABLE tips ADD COLUMN node TEXT COLLATE "C";
ALTER TABLE tips ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tips_by_node ON tips (node) WHERE node IS NOT NULL;

CREATE TABLE news (
    number BIGINT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    kind TEXT COLLATE "C" NOT NULL,
    ref TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL
);

CREATE TABLE news_count (                  -- its one row is locked until commit: numbers are seen in order
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    number BIGINT NOT NULL
) WITH (fillfactor = 50);
INSERT INTO news_count VALUES (1, 0);
