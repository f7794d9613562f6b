DELETE FROM inbox
WHERE id = ?
