UPDATE runs
SET tags = '[]'
WHERE key = :key
