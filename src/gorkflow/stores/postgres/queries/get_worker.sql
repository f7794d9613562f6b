-- With each: whether its lock is held, whether it was taken from the server that runs now, and the
-- time there.
WITH held AS MATERIALIZED (
    SELECT objid
    FROM pg_locks
    WHERE
        locktype = 'advisory' AND granted AND objsubid = 2 AND classid = (SELECT id::bigint + 2 FROM meta)::oid
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT
    worker_id, started_at, seen_at, lease, host, pid, concurrency, queues, slot,
    slot > 0 AND slot::bigint IN (SELECT objid::bigint FROM held),
    server = pg_postmaster_start_time()::text,
    extract(EPOCH FROM clock_timestamp())::float8
FROM workers
WHERE worker_id = :worker_id
