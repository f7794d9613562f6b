-- The lease of a worker, the oldest transaction that is still open, and what came for the worker's
-- runs. One row without a message, where there is none.
SELECT
    workers.seen_at, workers.lease, pg_snapshot_xmin(pg_current_snapshot())::text,
    message.id, message.run_id, message.kind, message.body, message.at, message.payload
FROM workers LEFT JOIN LATERAL (
    SELECT inbox.id, owned.run_id, inbox.kind, inbox.body, inbox.at, inbox.payload
    FROM inbox JOIN LATERAL (
        SELECT runs.run_id
        FROM runs
        WHERE runs.key = inbox.run AND runs.worker_id = workers.worker_id
        OFFSET 0  -- so that the messages come first
    ) AS owned ON TRUE
    WHERE inbox.tx >= :after::xid8
) AS message ON TRUE
WHERE workers.worker_id = :worker_id
ORDER BY message.id
