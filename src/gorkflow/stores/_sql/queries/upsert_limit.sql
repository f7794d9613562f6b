INSERT INTO limits (name, definition, defined_at, starts)
VALUES (:name, :definition, :defined_at, :starts)
ON CONFLICT (name) DO UPDATE
SET definition = excluded.definition, defined_at = excluded.defined_at, starts = excluded.starts
