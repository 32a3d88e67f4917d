-- What joins events that have no token in common: digests of carts, checkouts and sessions, ids of ours
-- that orders carry, and digests of deliveries.
CREATE TABLE refs(
  ref TEXT NOT NULL,
  idx INTEGER NOT NULL REFERENCES events(idx),
  PRIMARY KEY(ref, idx)
) STRICT, WITHOUT ROWID;

-- Purchases without a token that somebody told of: the only thing that finds them is what was bought.
CREATE TABLE sightings(
  store TEXT NOT NULL,
  variant TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  t_ms INTEGER NOT NULL,
  idx INTEGER NOT NULL REFERENCES events(idx),
  PRIMARY KEY(store, variant, quantity, t_ms, idx)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_order_time ON events(store, t_ms) WHERE type = 'order.observed';

-- No event of before has refs; what was observed without a token is found again.
INSERT INTO sightings
  SELECT store, json_extract(data, '$.variantId'), json_extract(data, '$.quantity'), t_ms, idx
  FROM (SELECT store, t_ms, idx, json_extract(CAST(body AS TEXT), '$.data') AS data
        FROM events WHERE type = 'execution.observed' AND jti IS NULL AND store IS NOT NULL)
  WHERE json_extract(data, '$.variantId') IS NOT NULL AND json_extract(data, '$.quantity') IS NOT NULL;
