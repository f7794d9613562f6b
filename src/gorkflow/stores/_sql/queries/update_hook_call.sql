UPDATE hook_calls
SET due_at = :due_at, tries = :tries, error = :error, revision = :revision
WHERE
    run = (SELECT key FROM runs WHERE run_id = :run_id) AND hook = :hook
    AND ended_at = :ended_at AND revision = :revision - 1
