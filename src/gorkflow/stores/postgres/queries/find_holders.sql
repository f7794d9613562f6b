-- Those that keep the server from cleaning up, the longest first: an open snapshot or transaction,
-- a prepared transaction, or a slot of replication.
SELECT what, name, age, seconds
FROM (
    SELECT
        'session' AS what,
        pid || ' of ' || coalesce(usename, '?') || ' (' || coalesce(nullif(application_name, ''), '?')
            || ', ' || coalesce(state, '?') || ', database ' || coalesce(datname, '?') || ')' AS name,
        greatest(age(backend_xmin), age(backend_xid)) AS age,
        extract(EPOCH FROM clock_timestamp() - xact_start)::float8 AS seconds
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    UNION ALL
    SELECT
        'prepared transaction', gid, age(transaction),
        extract(EPOCH FROM clock_timestamp() - prepared)::float8
    FROM pg_prepared_xacts
    UNION ALL
    SELECT
        'replication slot', slot_name::text, greatest(age(xmin), age(catalog_xmin)), NULL
    FROM pg_replication_slots
    WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
) AS holders
WHERE seconds IS NULL OR seconds >= :seconds
ORDER BY age DESC
LIMIT :limit
