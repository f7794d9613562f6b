-- Nothing: no cursor is the id of an event.
UPDATE runs
SET key = DEFAULT
WHERE FALSE AND key = :key
