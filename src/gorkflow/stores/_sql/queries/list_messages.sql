SELECT inbox.id, runs.run_id, inbox.kind, inbox.body, inbox.at, inbox.payload
FROM runs CROSS JOIN inbox ON inbox.run = runs.key
WHERE runs.run_id = :run_id AND inbox.id > :after
ORDER BY inbox.id
