-- Of a run whose own list of them can't be read.
UPDATE runs
SET tags = '[]', waits_for = '[]'
WHERE key = :key
