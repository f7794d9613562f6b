SELECT run, seq, kind, path, at, body, payload
FROM events
WHERE run = ANY(:runs)
ORDER BY run, seq
