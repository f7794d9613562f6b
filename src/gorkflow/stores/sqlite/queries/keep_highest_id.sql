-- The event with the highest id, where its run is deleted.
UPDATE events
SET run = 0, kind = '', path = '', body = '', payload = NULL
WHERE run = :key
