SELECT fingerprint
FROM definitions
WHERE fingerprint NOT IN (SELECT fingerprint FROM runs)
