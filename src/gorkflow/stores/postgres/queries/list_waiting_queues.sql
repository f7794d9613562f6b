-- Steps from one to the next along the indexes: costs what the queues are, not what their runs are.
WITH RECURSIVE ready AS (
    (SELECT queue FROM runs WHERE wake_at = 0 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT following.queue
    FROM ready JOIN LATERAL (
        SELECT queue
        FROM runs
        WHERE wake_at = 0 AND queue > ready.queue
        ORDER BY queue
        LIMIT 1
    ) AS following ON TRUE
),
asleep AS (
    (SELECT queue FROM runs WHERE wake_at > 0 ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT following.queue
    FROM asleep JOIN LATERAL (
        SELECT queue
        FROM runs
        WHERE wake_at > 0 AND queue > asleep.queue
        ORDER BY queue
        LIMIT 1
    ) AS following ON TRUE
)
SELECT queue
FROM (SELECT queue FROM ready UNION SELECT queue FROM asleep) AS found
ORDER BY queue
