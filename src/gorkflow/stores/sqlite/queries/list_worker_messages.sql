SELECT inbox.id, runs.run_id, inbox.kind, inbox.body, inbox.at
FROM inbox CROSS JOIN runs ON runs.key = inbox.run
WHERE runs.worker_id = ?
ORDER BY inbox.id
