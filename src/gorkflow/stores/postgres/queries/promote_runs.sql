-- Runs that are due stand with the others that may be claimed. Not without bound: to have slept
-- through the night must not lock everything.
WITH due AS MATERIALIZED (
    SELECT key
    FROM runs
    WHERE wake_at > 0 AND wake_at <= :due_by
    ORDER BY wake_at
    LIMIT 1000
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE runs
SET wake_at = 0
FROM due
WHERE runs.key = due.key
