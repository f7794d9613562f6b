SELECT runs.run_id || ' ' || COALESCE(wait.signal, '?')
FROM runs CROSS JOIN (
    SELECT
        waiting.key,
        each.value AS signal
    FROM
        runs AS waiting CROSS JOIN
        json_each(CASE WHEN json_valid(waiting.waits_for) THEN waiting.waits_for ELSE '[]' END)
            AS each
    WHERE waiting.waits_for <> '[]'
) AS wait ON wait.key = runs.key
WHERE
    NOT EXISTS (
        SELECT 1
        FROM run_waits
        WHERE
            run_waits.signal = wait.signal AND run_waits.created_at = runs.created_at
            AND run_waits.run_id = runs.run_id
    )
