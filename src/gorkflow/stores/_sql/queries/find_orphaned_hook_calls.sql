SELECT 'hook ' || hook || ' of run ' || run
FROM hook_calls
WHERE
    run NOT IN (
        SELECT key FROM runs WHERE status NOT IN ('pending', 'running', 'suspended')
    )
