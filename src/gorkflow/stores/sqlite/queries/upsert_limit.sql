INSERT OR REPLACE INTO limits (name, definition, defined_at, starts)
VALUES (?, ?, ?, ?)
