DELETE FROM inbox
WHERE id = ? AND run = ?
