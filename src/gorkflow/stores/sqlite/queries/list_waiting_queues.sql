-- Steps from one to the next along the indexes: costs what the queues are, not what their runs are.
WITH RECURSIVE queues (name) AS (
    SELECT MIN(name)
    FROM (
        SELECT MIN(queue) AS name
        FROM runs INDEXED BY runs_ready
        WHERE queue > '' AND worker_id IS NULL AND line <> 1 AND due_at IS NULL AND status IN ('pending', 'running')
        UNION ALL
        SELECT MIN(queue) AS name
        FROM runs INDEXED BY runs_asleep
        WHERE queue > '' AND worker_id IS NULL AND line <> 1 AND due_at IS NOT NULL AND status IN ('pending', 'running', 'suspended')
        UNION ALL
        SELECT MIN(queue) AS name
        FROM runs INDEXED BY runs_mailed
        WHERE queue > '' AND worker_id IS NULL AND line <> 1 AND mailed > seen AND status IN ('pending', 'running', 'suspended')
    )
    UNION ALL
    SELECT (
        SELECT MIN(name)
        FROM (
            SELECT MIN(queue) AS name
            FROM runs INDEXED BY runs_ready
            WHERE queue > queues.name AND worker_id IS NULL AND line <> 1 AND due_at IS NULL AND status IN ('pending', 'running')
            UNION ALL
            SELECT MIN(queue) AS name
            FROM runs INDEXED BY runs_asleep
            WHERE queue > queues.name AND worker_id IS NULL AND line <> 1 AND due_at IS NOT NULL AND status IN ('pending', 'running', 'suspended')
            UNION ALL
            SELECT MIN(queue) AS name
            FROM runs INDEXED BY runs_mailed
            WHERE queue > queues.name AND worker_id IS NULL AND line <> 1 AND mailed > seen AND status IN ('pending', 'running', 'suspended')
        )
    )
    FROM queues
    WHERE queues.name IS NOT NULL
)
SELECT name
FROM queues
WHERE name IS NOT NULL
