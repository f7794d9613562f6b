-- Runs that a message should have woken.
SELECT run_id
FROM runs INDEXED BY runs_mailed
WHERE
    worker_id IS NULL AND line <> 1 AND mailed > seen AND status IN ('pending', 'running', 'suspended')
    AND EXISTS (
        SELECT 1
        FROM inbox
        WHERE inbox.run = runs.key AND inbox.id > runs.seen AND inbox.at < :before
    )
LIMIT :limit
