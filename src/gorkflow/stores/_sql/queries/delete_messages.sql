DELETE FROM inbox
WHERE run = :key
