-- Streams may come from other hosts: by whose key, from which source, and the hash that the next event
-- has to name.
ALTER TABLE streams ADD COLUMN producer TEXT;
ALTER TABLE streams ADD COLUMN source TEXT;
ALTER TABLE streams ADD COLUMN last_leaf BLOB;
