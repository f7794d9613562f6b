-- Steps from one resource that runs wait for to the next. In each that no other live run has, the
-- oldest has its turn.
WITH RECURSIVE waited_for (resource_id) AS (
    SELECT MIN(resource_id)
    FROM runs INDEXED BY runs_in_line
    WHERE line = 1 AND status IN ('pending', 'running', 'suspended')
    UNION ALL
    SELECT (
        SELECT MIN(runs.resource_id)
        FROM runs INDEXED BY runs_in_line
        WHERE line = 1 AND status IN ('pending', 'running', 'suspended') AND runs.resource_id > waited_for.resource_id
    )
    FROM waited_for
    WHERE waited_for.resource_id IS NOT NULL
)
UPDATE runs
SET line = 2
WHERE key IN (
    SELECT (
        SELECT key
        FROM runs INDEXED BY runs_in_line
        WHERE
            line = 1 AND status IN ('pending', 'running', 'suspended') AND runs.resource_id = waited_for.resource_id
        ORDER BY created_at, run_id
        LIMIT 1
    )
    FROM waited_for
    WHERE
        resource_id IS NOT NULL
        AND NOT EXISTS (
            SELECT 1
            FROM runs INDEXED BY runs_occupying
            WHERE
                runs.resource_id = waited_for.resource_id AND line IN (0, 2)
                AND status IN ('pending', 'running', 'suspended')
        )
)
