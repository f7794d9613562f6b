-- Steps from one to the next along the index: costs what the workflows are, not what their runs are.
WITH RECURSIVE workflows (workflow_id) AS (
    SELECT MIN(workflow_id)
    FROM runs
    WHERE workflow_id > :after
    UNION ALL
    SELECT (SELECT MIN(workflow_id) FROM runs WHERE workflow_id > workflows.workflow_id)
    FROM workflows
    WHERE workflows.workflow_id IS NOT NULL
)
SELECT workflow_id
FROM workflows
WHERE workflow_id IS NOT NULL
LIMIT :limit
