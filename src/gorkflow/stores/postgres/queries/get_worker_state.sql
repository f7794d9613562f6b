SELECT seen_at, lease, pg_snapshot_xmin(pg_current_snapshot())::text
FROM workers
WHERE worker_id = :worker_id
