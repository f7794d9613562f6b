-- Messages of ended runs, and how many runs.
SELECT COUNT(*), COUNT(DISTINCT inbox.run)
FROM inbox CROSS JOIN runs ON runs.key = inbox.run
WHERE runs.status NOT IN ('pending', 'running', 'suspended')
