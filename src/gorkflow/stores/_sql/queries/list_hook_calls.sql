SELECT
    runs.run_id, hook_calls.workflow_id, hook_calls.hook, hook_calls.ended_at, hook_calls.due_at,
    hook_calls.tries, hook_calls.error, hook_calls.revision
FROM hook_calls CROSS JOIN runs ON runs.key = hook_calls.run
WHERE hook_calls.due_at <= :due_by
ORDER BY hook_calls.due_at, hook_calls.run, hook_calls.hook
LIMIT :limit
