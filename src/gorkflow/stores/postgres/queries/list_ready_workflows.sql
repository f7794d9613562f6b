-- Steps from one to the next along the index: costs what the workflows are, not what their runs are.
WITH RECURSIVE ready AS (
    (
        SELECT queue, workflow_id
        FROM runs
        WHERE wake_at = 0
        ORDER BY queue, workflow_id
        LIMIT 1
    )
    UNION ALL
    SELECT following.queue, following.workflow_id
    FROM ready JOIN LATERAL (
        SELECT queue, workflow_id
        FROM runs
        WHERE wake_at = 0 AND (queue, workflow_id) > (ready.queue, ready.workflow_id)
        ORDER BY queue, workflow_id
        LIMIT 1
    ) AS following ON TRUE
)
SELECT DISTINCT workflow_id
FROM ready
ORDER BY workflow_id
