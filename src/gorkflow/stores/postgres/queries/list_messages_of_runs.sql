SELECT inbox.id, runs.run_id, inbox.kind, inbox.body, inbox.at, inbox.payload
FROM runs JOIN inbox ON inbox.run = runs.key
WHERE runs.run_id = ANY(:run_ids)
ORDER BY inbox.id
