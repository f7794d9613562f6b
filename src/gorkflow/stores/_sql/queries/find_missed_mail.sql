SELECT runs.run_id
FROM runs
WHERE runs.mailed < (SELECT MAX(inbox.id) FROM inbox WHERE inbox.run = runs.key)
