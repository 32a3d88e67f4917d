-- Streams of events: one for each spool directory, told apart by the directory's identity. The
-- generation grows when a directory was set back, for example by restoring a backup of it.
CREATE TABLE streams(
  id INTEGER PRIMARY KEY,
  identity TEXT NOT NULL,
  generation INTEGER NOT NULL,
  next_seq INTEGER NOT NULL,
  UNIQUE(identity, generation)
) STRICT;

-- `body` holds the exact bytes; the other columns are read from them and only serve to find them.
CREATE TABLE events(
  idx INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams(id),
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  corr TEXT NOT NULL,
  store TEXT,
  trace TEXT,
  agent TEXT,
  jti TEXT,
  decision TEXT,
  reason TEXT,
  order_id TEXT,
  t_ms INTEGER NOT NULL,
  body BLOB NOT NULL,
  UNIQUE(stream, seq)
) STRICT;

-- Every index ends in `idx` by itself, which is the order in which it is read.
CREATE INDEX events_corr ON events(corr);
CREATE INDEX events_trace ON events(trace) WHERE trace IS NOT NULL;
CREATE INDEX events_order ON events(order_id) WHERE order_id IS NOT NULL;
CREATE INDEX events_store ON events(store) WHERE store IS NOT NULL;
CREATE INDEX events_type ON events(type);
CREATE INDEX events_reason ON events(reason) WHERE reason IS NOT NULL;
CREATE INDEX events_agent ON events(agent) WHERE agent IS NOT NULL;
CREATE INDEX events_time ON events(t_ms);
-- An execution is named after its first token; this finds the others of a cart.
CREATE INDEX events_jti ON events(jti) WHERE jti IS NOT NULL AND 'exec_' || jti <> corr;

-- Records that were never seen (`missing`) or that were seen and are no events (`unreadable`).
CREATE TABLE gaps(
  stream INTEGER NOT NULL REFERENCES streams(id),
  from_seq INTEGER NOT NULL,
  to_seq INTEGER NOT NULL,
  cause TEXT NOT NULL,
  PRIMARY KEY(stream, from_seq)
) STRICT;
