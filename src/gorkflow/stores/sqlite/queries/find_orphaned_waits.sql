SELECT run_waits.run_id || ' ' || run_waits.signal
FROM run_waits LEFT JOIN runs ON runs.key = run_waits.run
WHERE
    runs.key IS NULL
    OR runs.run_id <> run_waits.run_id
    OR runs.created_at <> run_waits.created_at
    OR (
        json_valid(runs.waits_for)
        AND NOT EXISTS (
            SELECT 1
            FROM json_each(runs.waits_for) AS each
            WHERE each.value = run_waits.signal
        )
    )
