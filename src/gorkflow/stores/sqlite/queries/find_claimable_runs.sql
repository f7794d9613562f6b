-- Three short walks along an index rather than one over every sleeping run: runs that wait for
-- nothing, runs that are due, runs with mail.
SELECT
    runs.key, runs.run_id, runs.workflow_id, runs.workflow_version, runs.fingerprint, runs.status,
    runs.reason, runs.resource_id, runs.tags, runs.created_at, runs.started_at, runs.finished_at,
    runs.due_at, runs.seq, runs.worker_id, runs.token
FROM runs
WHERE runs.key IN (
    SELECT key
    FROM (
        SELECT key
        FROM runs
        WHERE
            status IN ('pending', 'running', 'suspended') AND worker_id IS NULL
            AND due_at IS NULL
            AND (
                :workflow_ids IS NULL
                OR workflow_id IN (SELECT value FROM json_each(:workflow_ids))
            )
        ORDER BY created_at, run_id
        LIMIT :limit
    )
    UNION
    SELECT key
    FROM (
        SELECT key
        FROM runs
        WHERE
            status IN ('pending', 'running', 'suspended') AND worker_id IS NULL
            AND due_at <= :now
            AND (
                :workflow_ids IS NULL
                OR workflow_id IN (SELECT value FROM json_each(:workflow_ids))
            )
        ORDER BY created_at, run_id
        LIMIT :limit
    )
    UNION
    SELECT inbox.run
    FROM inbox CROSS JOIN runs AS mailed ON mailed.key = inbox.run
    WHERE
        mailed.status IN ('pending', 'running', 'suspended') AND mailed.worker_id IS NULL
        AND (
            :workflow_ids IS NULL
            OR mailed.workflow_id IN (SELECT value FROM json_each(:workflow_ids))
        )
)
ORDER BY runs.created_at, runs.run_id
LIMIT :limit
