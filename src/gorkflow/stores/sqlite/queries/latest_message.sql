SELECT MAX(id)
FROM inbox
