INSERT INTO events (run, seq, kind, path, at, v, body, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
