SELECT runs.run_id || ' ' || wait.signal
FROM runs JOIN LATERAL json_array_elements_text(runs.waits_for::json) AS wait (signal) ON TRUE
WHERE
    NOT EXISTS (
        SELECT 1
        FROM run_waits
        WHERE
            run_waits.signal = wait.signal AND run_waits.created_at = runs.created_at
            AND run_waits.run_id = runs.run_id
    )
