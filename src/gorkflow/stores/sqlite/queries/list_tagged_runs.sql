SELECT
    runs.key, runs.run_id, runs.workflow_id, runs.workflow_version, runs.fingerprint, runs.status,
    runs.reason, runs.resource_id, runs.tags, runs.created_at, runs.started_at, runs.finished_at,
    runs.due_at, runs.seq, runs.worker_id, runs.token, runs.priority, runs.exclusive, runs.seen,
    runs.orphaned
FROM run_tags CROSS JOIN runs ON runs.key = run_tags.run
WHERE
    run_tags.name = :tag_name AND run_tags.value = :tag_value
    AND (run_tags.created_at, run_tags.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY run_tags.created_at DESC, run_tags.run_id DESC
LIMIT :limit
