-- The length of a payload is in its row's header: nothing of it is read.
SELECT runs.key, events.seq, LENGTH(events.body) + COALESCE(LENGTH(events.payload), 0)
FROM runs CROSS JOIN events ON events.run = runs.key
WHERE runs.run_id = :run_id AND runs.status NOT IN ('pending', 'running', 'suspended')
ORDER BY events.seq
LIMIT :limit
