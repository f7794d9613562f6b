SELECT runs.run_id, events.seq, events.kind, events.path, events.at, events.body,
    events.payload, events.id
FROM events LEFT JOIN runs ON runs.key = events.run
WHERE events.id > :after AND events.run <> 0
ORDER BY events.id
LIMIT :limit
