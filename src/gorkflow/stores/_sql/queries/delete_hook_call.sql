DELETE FROM hook_calls
WHERE
    run = (SELECT key FROM runs WHERE run_id = :run_id) AND hook = :hook AND ended_at = :ended_at
