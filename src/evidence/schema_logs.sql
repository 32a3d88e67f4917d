-- The signed logs: one for each year, which begins with the event `first_idx`.
CREATE TABLE logs(
  year INTEGER PRIMARY KEY,
  first_idx INTEGER NOT NULL
) STRICT;

-- A proof is asked for by the id of its event.
CREATE INDEX events_id ON events(id);
