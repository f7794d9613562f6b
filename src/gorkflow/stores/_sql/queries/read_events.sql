SELECT runs.run_id, events.seq, events.kind, events.path, events.at, events.body,
    events.payload
FROM runs CROSS JOIN events ON events.run = runs.key
WHERE runs.run_id = :run_id AND events.seq > :after
ORDER BY events.seq
LIMIT :limit
