SELECT fingerprint, tree
FROM definitions
WHERE fingerprint = ANY(:fingerprints)
