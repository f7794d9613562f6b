INSERT INTO definitions (fingerprint, tree)
VALUES (?, ?)
ON CONFLICT DO NOTHING
