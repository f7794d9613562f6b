SELECT MIN(due_at)
FROM (
    SELECT (
        SELECT MIN(due_at)
        FROM runs INDEXED BY runs_asleep
        WHERE
            workflow_id = known.value AND worker_id IS NULL AND due_at IS NOT NULL
            AND status IN ('pending', 'running', 'suspended')
    ) AS due_at
    FROM json_each(:workflow_ids) AS known
)
