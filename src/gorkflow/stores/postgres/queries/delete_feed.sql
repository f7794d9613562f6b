DELETE FROM feed
USING unnest(:eras, :txs, :ids) AS dead (era, tx, id)
WHERE feed.era = dead.era::integer AND feed.tx = dead.tx::xid8 AND feed.id = dead.id
