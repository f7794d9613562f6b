INSERT INTO definitions (fingerprint, tree)
SELECT tree.fingerprint, tree.tree
FROM unnest(:d_fingerprint, :d_tree) AS tree (fingerprint, tree)
ORDER BY tree.fingerprint
ON CONFLICT DO NOTHING
