INSERT INTO events (run, seq, kind, path, at, body, payload)
VALUES (?, ?, ?, ?, ?, ?, ?)
