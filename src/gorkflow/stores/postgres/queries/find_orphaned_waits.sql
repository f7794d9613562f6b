SELECT run_waits.run_id || ' ' || run_waits.signal
FROM run_waits LEFT JOIN runs ON runs.key = run_waits.run
WHERE
    runs.key IS NULL
    OR runs.run_id <> run_waits.run_id
    OR runs.created_at <> run_waits.created_at
    OR NOT EXISTS (
        SELECT 1
        FROM json_array_elements_text(runs.waits_for::json) AS wait (signal)
        WHERE wait.signal = run_waits.signal
    )
