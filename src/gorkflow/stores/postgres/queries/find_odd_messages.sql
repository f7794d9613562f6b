SELECT 'message ' || inbox.id || ' of run ' || coalesce(runs.run_id, '?')
FROM inbox LEFT JOIN runs ON runs.key = inbox.run
WHERE
    inbox.kind NOT IN ('cancel', 'signal')
    OR inbox.at NOT BETWEEN 0 AND 250000000000
    OR (
        inbox.kind = 'signal'
        AND json_typeof(convert_from(coalesce(inbox.payload, 'null'), 'UTF8')::json) IS NULL
    )
