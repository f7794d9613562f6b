-- Transitions that change nothing in a summary but `seq`. Rows are locked in one order by all.
WITH item AS MATERIALIZED (
    SELECT *
    FROM unnest(:ord, :run_id, :token, :before, :after) AS item (ord, run_id, token, before, after)
),
accepted AS MATERIALIZED (
    SELECT item.ord, item.before, item.after, runs.key
    FROM
        (SELECT * FROM item ORDER BY run_id) AS item
        JOIN LATERAL (
            SELECT key
            FROM runs
            WHERE
                runs.run_id = item.run_id AND runs.seq = item.before AND runs.token = item.token
                AND runs.status IN ('pending', 'running', 'suspended')
            FOR NO KEY UPDATE
        ) AS runs ON TRUE
),
moved AS (
    UPDATE runs
    SET seq = accepted.after
    FROM accepted
    WHERE runs.key = accepted.key
),
