-- When something was last heard of a telephone call. Here the process that hears it remembers that;
-- where several servers share a database (migrations/postgres/), it stands in it.

ALTER TABLE phone_calls ADD COLUMN heard_at_ms INTEGER NOT NULL DEFAULT 0;
