-- Whether no run is being created just now; and the number of the latest one.
SELECT pg_try_advisory_xact_lock(id, 1), coalesce((SELECT max(key) FROM runs), 0)
FROM meta
