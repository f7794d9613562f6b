SELECT 'hook ' || hook_calls.hook || ' of ' || runs.run_id
FROM hook_calls JOIN runs ON runs.key = hook_calls.run
WHERE
    hook_calls.hook NOT IN (1, 2) OR hook_calls.workflow_id <> runs.workflow_id
    OR hook_calls.tries < 0 OR hook_calls.revision < hook_calls.tries
