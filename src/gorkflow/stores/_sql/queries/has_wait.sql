EXISTS (
    SELECT 1
    FROM run_waits AS wait
    WHERE
        wait.signal = :signal AND wait.created_at = runs.created_at
        AND wait.run_id = runs.run_id
)
