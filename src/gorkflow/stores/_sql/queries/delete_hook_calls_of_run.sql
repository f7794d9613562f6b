DELETE FROM hook_calls
WHERE run = :key
