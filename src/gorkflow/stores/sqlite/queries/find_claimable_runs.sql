-- For each workflow of each queue three short walks along an index, rather than one over every run that sleeps:
-- runs that wait for nothing, runs that are due, runs with fresh mail.
SELECT runs.*
FROM
    json_each(:queues) AS served CROSS JOIN json_each(:workflow_ids) AS known CROSS JOIN
    summaries AS runs
WHERE runs.key IN (
    SELECT key
    FROM (
        SELECT key
        FROM runs INDEXED BY runs_ready
        WHERE
            queue = served.value AND workflow_id = known.value AND worker_id IS NULL AND line <> 1
            AND due_at IS NULL
            AND status IN ('pending', 'running')
        ORDER BY priority DESC, created_at, run_id
        LIMIT :limit
    )
    UNION ALL
    SELECT key
    FROM (
        SELECT key
        FROM runs INDEXED BY runs_asleep
        WHERE
            queue = served.value AND workflow_id = known.value AND worker_id IS NULL AND line <> 1
            AND due_at <= :due_by
            AND status IN ('pending', 'running', 'suspended')
        ORDER BY priority DESC, created_at, run_id
        LIMIT :limit
    )
    UNION ALL
    SELECT key
    FROM (
        SELECT key
        FROM runs INDEXED BY runs_mailed
        WHERE
            queue = served.value AND workflow_id = known.value AND worker_id IS NULL AND line <> 1
            AND mailed > seen
            AND status IN ('pending', 'running', 'suspended')
            -- It may have been consumed meanwhile.
            AND EXISTS (SELECT 1 FROM inbox WHERE inbox.run = runs.key AND inbox.id > runs.seen)
        ORDER BY priority DESC, created_at, run_id
        LIMIT :limit
    )
)
ORDER BY runs.priority DESC, runs.created_at, runs.run_id
LIMIT :limit
