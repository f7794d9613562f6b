DELETE FROM definitions
WHERE
    fingerprint = ANY(:fingerprints)
    AND NOT EXISTS (
        SELECT 1 FROM runs WHERE runs.key > :latest AND runs.fingerprint = definitions.fingerprint
    )
