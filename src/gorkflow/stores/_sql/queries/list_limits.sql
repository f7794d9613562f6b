SELECT name, definition, defined_at, starts
FROM limits
ORDER BY name
