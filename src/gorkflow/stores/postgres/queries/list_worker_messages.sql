SELECT inbox.id, runs.run_id, inbox.kind, inbox.body, inbox.at, inbox.payload
FROM inbox JOIN runs ON runs.key = inbox.run
WHERE inbox.tx >= :after::xid8 AND runs.worker_id = :worker_id
ORDER BY inbox.id
