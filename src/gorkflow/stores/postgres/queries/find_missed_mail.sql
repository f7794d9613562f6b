SELECT runs.run_id
FROM runs
WHERE
    runs.mailed <> coalesce((SELECT max(inbox.id) FROM inbox WHERE inbox.run = runs.key), 0)
