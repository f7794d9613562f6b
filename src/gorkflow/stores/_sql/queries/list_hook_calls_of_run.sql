SELECT
    runs.run_id, hook_calls.workflow_id, hook_calls.hook, hook_calls.ended_at, hook_calls.due_at,
    hook_calls.tries, hook_calls.error, hook_calls.revision
FROM runs CROSS JOIN hook_calls ON hook_calls.run = runs.key
WHERE runs.run_id = :run_id AND hook_calls.due_at <= :due_by
ORDER BY hook_calls.due_at, hook_calls.hook
LIMIT :limit
