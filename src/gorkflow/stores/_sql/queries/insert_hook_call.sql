INSERT INTO hook_calls (run, hook, workflow_id, ended_at, due_at)
VALUES (:key, :hook, :workflow_id, :ended_at, :due_at)
