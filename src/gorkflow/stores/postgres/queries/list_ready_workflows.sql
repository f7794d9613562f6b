-- Steps from one to the next along the index: costs what the workflows are, not what their runs are.
WITH RECURSIVE workflows AS (
    (SELECT workflow_id FROM runs WHERE wake_at = 0 ORDER BY workflow_id LIMIT 1)
    UNION ALL
    SELECT following.workflow_id
    FROM workflows JOIN LATERAL (
        SELECT workflow_id
        FROM runs
        WHERE wake_at = 0 AND workflow_id > workflows.workflow_id
        ORDER BY workflow_id
        LIMIT 1
    ) AS following ON TRUE
)
SELECT workflow_id
FROM workflows
