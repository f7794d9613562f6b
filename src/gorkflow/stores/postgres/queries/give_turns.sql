-- Steps from one resource that runs wait for to the next. In each that no other live run has, the
-- oldest has its turn; if somebody writes to it now, the next look gives it.
WITH RECURSIVE waited_for (resource_id) AS (
    (
        SELECT resource_id
        FROM runs
        WHERE line = 1 AND status IN ('pending', 'running', 'suspended')
        ORDER BY resource_id
        LIMIT 1
    )
    UNION ALL
    SELECT following.resource_id
    FROM waited_for JOIN LATERAL (
        SELECT resource_id
        FROM runs
        WHERE line = 1 AND status IN ('pending', 'running', 'suspended') AND runs.resource_id > waited_for.resource_id
        ORDER BY resource_id
        LIMIT 1
    ) AS following ON TRUE
),
oldest AS MATERIALIZED (
    SELECT first.key
    FROM waited_for JOIN LATERAL (
        SELECT key
        FROM runs
        WHERE line = 1 AND status IN ('pending', 'running', 'suspended') AND runs.resource_id = waited_for.resource_id
        ORDER BY created_at, run_id
        LIMIT 1
    ) AS first ON TRUE
    WHERE NOT EXISTS (
        SELECT 1
        FROM runs
        WHERE
            runs.resource_id = waited_for.resource_id AND line IN (0, 2)
            AND status IN ('pending', 'running', 'suspended')
    )
),
free AS MATERIALIZED (
    SELECT runs.key
    FROM runs JOIN oldest ON oldest.key = runs.key
    WHERE runs.line = 1 AND runs.status IN ('pending', 'running', 'suspended')
    FOR NO KEY UPDATE OF runs SKIP LOCKED
)
UPDATE runs
SET line = 2, wake_at = wake_at(status, worker_id, due_at, mailed, seen, 2)
FROM free
WHERE runs.key = free.key
