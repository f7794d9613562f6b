-- Steps from owner to owner along the index: costs what the owners are, not what they own.
WITH RECURSIVE owners (worker_id) AS (
    SELECT MIN(worker_id)
    FROM runs INDEXED BY runs_owned
    WHERE worker_id > '' AND status IN ('pending', 'running', 'suspended')
    UNION ALL
    SELECT (
        SELECT MIN(worker_id)
        FROM runs INDEXED BY runs_owned
        WHERE
            worker_id > owners.worker_id AND status IN ('pending', 'running', 'suspended')
    )
    FROM owners
    WHERE owners.worker_id IS NOT NULL
)
SELECT worker_id
FROM owners
WHERE worker_id IS NOT NULL
