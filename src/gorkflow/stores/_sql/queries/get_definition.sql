SELECT tree
FROM definitions
WHERE fingerprint = :fingerprint
