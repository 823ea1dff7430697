-- Which server has a session. Here one server has all of them, and neither is ever set.

ALTER TABLE tips ADD COLUMN node TEXT;
ALTER TABLE tips ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
