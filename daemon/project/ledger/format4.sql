-- Makes format 4 of format 3. A released step never changes.
-- Each row has a checksum, which SQLite computes whenever it writes one (`sums.rs`). A stored column cannot be added to a
-- table that is there, so the tables are made anew.

CREATE TABLE meta_4 (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(name, value)) STORED
) STRICT, WITHOUT ROWID;
INSERT INTO meta_4 (name, value)
  SELECT name, value FROM meta;
DROP TABLE meta;
ALTER TABLE meta_4 RENAME TO meta;

CREATE TABLE tasks_4 (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  settled INTEGER NOT NULL,
  seen INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 0,
  origin INTEGER REFERENCES origins (id),
  key TEXT,
  etag TEXT,
  form TEXT,
  body TEXT,
  data_hash BLOB NOT NULL,
  url TEXT,
  copied TEXT,
  bad TEXT,
  detail TEXT,
  orphan INTEGER NOT NULL DEFAULT 0,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(id, state, settled, seen, gone, origin, key, etag, form, body, data_hash, url, copied, bad, detail, orphan)) STORED,
  CHECK (id >= 0),
  CHECK ((origin IS NULL) = (key IS NULL))
) STRICT;
INSERT INTO tasks_4 (id, state, settled, seen, gone, origin, key, etag, form, body, data_hash, url, copied, bad, detail, orphan)
  SELECT id, state, settled, seen, gone, origin, key, etag, form, body, data_hash, url, copied, bad, detail, orphan FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_4 RENAME TO tasks;

CREATE TABLE older_4 (
  id INTEGER NOT NULL,
  data_hash BLOB NOT NULL,
  nth INTEGER NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(id, data_hash, nth)) STORED,
  PRIMARY KEY (id, data_hash)
) STRICT, WITHOUT ROWID;
INSERT INTO older_4 (id, data_hash, nth)
  SELECT id, data_hash, nth FROM older;
DROP TABLE older;
ALTER TABLE older_4 RENAME TO older;

CREATE TABLE keys_without_id_4 (
  origin INTEGER NOT NULL REFERENCES origins (id),
  key TEXT NOT NULL,
  retired INTEGER NOT NULL,
  etag TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(origin, key, retired, etag, reason, detail)) STORED,
  PRIMARY KEY (origin, key)
) STRICT, WITHOUT ROWID;
INSERT INTO keys_without_id_4 (origin, key, retired, etag, reason, detail)
  SELECT origin, key, retired, etag, reason, detail FROM keys_without_id;
DROP TABLE keys_without_id;
ALTER TABLE keys_without_id_4 RENAME TO keys_without_id;

CREATE TABLE completions_4 (
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  sha BLOB,
  etag TEXT,
  data_hash BLOB,
  print TEXT,
  disputed_sha BLOB,
  disputed_etag TEXT,
  resolution TEXT,
  begun BLOB,
  reason TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  at INTEGER NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason, detail, at)) STORED
) STRICT, WITHOUT ROWID;
INSERT INTO completions_4 (name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason, detail, at)
  SELECT name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason, detail, at FROM completions;
DROP TABLE completions;
ALTER TABLE completions_4 RENAME TO completions;

CREATE TABLE holds_4 (
  id TEXT PRIMARY KEY,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  consequence TEXT NOT NULL,
  since INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(id, code, message, consequence, since, accepted)) STORED
) STRICT, WITHOUT ROWID;
INSERT INTO holds_4 (id, code, message, consequence, since, accepted)
  SELECT id, code, message, consequence, since, accepted FROM holds;
DROP TABLE holds;
ALTER TABLE holds_4 RENAME TO holds;

-- What is remembered of listings is remembered again.
DROP TABLE stretches;
CREATE TABLE stretches (
  origin INTEGER NOT NULL REFERENCES origins (id),
  after TEXT NOT NULL,
  last TEXT,
  digest BLOB NOT NULL,
  tally TEXT NOT NULL,
  sum INTEGER NOT NULL GENERATED ALWAYS AS (row_sum(origin, after, last, digest, tally)) STORED,
  PRIMARY KEY (origin, after)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX one_id_a_key ON tasks (origin, key) WHERE key IS NOT NULL;
CREATE INDEX unsettled ON tasks (id) WHERE settled = 0;
CREATE INDEX unseen ON tasks (id) WHERE seen = 0 AND state = 0;
CREATE INDEX foreign_urls ON tasks (url) WHERE url IS NOT NULL;
CREATE INDEX states ON tasks (state, id);
CREATE INDEX completion_states ON completions (state, name);
CREATE INDEX orphans ON tasks (data_hash) WHERE orphan = 1;

CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
  INSERT INTO written VALUES (NEW.origin, NEW.key);
END;
CREATE TRIGGER task_changed AFTER UPDATE OF origin, key, etag, state, form, gone, copied, bad ON tasks BEGIN
  INSERT INTO written VALUES (OLD.origin, OLD.key), (NEW.origin, NEW.key);
END;
CREATE TRIGGER task_removed AFTER DELETE ON tasks BEGIN
  INSERT INTO written VALUES (OLD.origin, OLD.key);
END;
CREATE TRIGGER key_added AFTER INSERT ON keys_without_id BEGIN
  INSERT INTO written VALUES (NEW.origin, NEW.key);
END;
CREATE TRIGGER key_changed AFTER UPDATE ON keys_without_id BEGIN
  INSERT INTO written VALUES (OLD.origin, OLD.key), (NEW.origin, NEW.key);
END;
CREATE TRIGGER key_removed AFTER DELETE ON keys_without_id BEGIN
  INSERT INTO written VALUES (OLD.origin, OLD.key);
END;
