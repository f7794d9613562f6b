-- Runs that a message should have woken.
SELECT run_id
FROM runs
WHERE
    wake_at = 0 AND mailed > seen
    AND EXISTS (
        SELECT 1
        FROM inbox
        WHERE inbox.run = runs.key AND inbox.id > runs.seen AND inbox.at < :before
    )
LIMIT :limit
