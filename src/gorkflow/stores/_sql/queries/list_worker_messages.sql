SELECT inbox.id, runs.run_id, inbox.kind, inbox.body, inbox.at, inbox.payload
FROM inbox CROSS JOIN runs ON runs.key = inbox.run
WHERE inbox.id > :after AND runs.worker_id = :worker_id
ORDER BY inbox.id
