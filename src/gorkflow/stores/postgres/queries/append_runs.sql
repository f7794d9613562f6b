-- Transitions of any kind. Rows are locked in one order by all.
WITH item AS MATERIALIZED (
    SELECT *
    FROM
        unnest(
            :ord, :run_id, :token, :before, :after, :changed, :consumed, :status, :reason,
            :started_at, :finished_at, :due_at, :worker_id, :seen, :orphaned, :trace, :waits_for,
            :hooks
        ) AS item (
            ord, run_id, token, before, after, changed, consumed, status, reason, started_at,
            finished_at, due_at, worker_id, seen, orphaned, trace, waits_for, hooks
        )
),
locked AS MATERIALIZED (
    SELECT
        item.*, item.consumed::bigint[] AS used, runs.key, runs.created_at, runs.mailed,
        runs.line, runs.waits_for AS waited_for
    FROM
        (SELECT * FROM item ORDER BY run_id) AS item
        JOIN LATERAL (
            SELECT key, created_at, mailed, line, waits_for
            FROM runs
            WHERE
                runs.run_id = item.run_id AND runs.seq = item.before AND runs.token = item.token
                AND runs.status IN ('pending', 'running', 'suspended')
            FOR NO KEY UPDATE
        ) AS runs ON TRUE
),
-- Whoever makes use of the latest message has read all before it: so this snapshot has them, too.
used AS MATERIALIZED (
    SELECT
        locked.*,
        CASE
            WHEN locked.mailed = ANY(locked.used) THEN coalesce(
                (
                    SELECT max(inbox.id)
                    FROM inbox
                    WHERE inbox.run = locked.key AND inbox.id <> ALL(locked.used)
                ), 0
            )
            ELSE locked.mailed
        END AS left_over
    FROM locked
),
moved AS (
    UPDATE runs
    SET
        seq = used.after, mailed = used.left_over,
        wake_at = wake_at(
            runs.status, runs.worker_id, runs.due_at, used.left_over, runs.seen, runs.line
        )
    FROM used
    WHERE runs.key = used.key AND NOT used.changed
),
changed AS (
    UPDATE runs
    SET
        seq = used.after, mailed = used.left_over, status = used.status, reason = used.reason,
        started_at = used.started_at, finished_at = used.finished_at, due_at = used.due_at,
        worker_id = used.worker_id, seen = used.seen, orphaned = used.orphaned, trace = used.trace,
        waits_for = used.waits_for, hooks = used.hooks,
        wake_at = wake_at(
            used.status, used.worker_id, used.due_at, used.left_over, used.seen, used.line
        )
    FROM used
    WHERE runs.key = used.key AND used.changed
),
dropped AS (
    DELETE FROM inbox
    USING locked
    WHERE inbox.run = locked.key AND inbox.id = ANY(locked.used)
),
wait AS MATERIALIZED (
    SELECT wait.signal, locked.key, locked.created_at, locked.run_id
    FROM unnest(:w_ord, :w_signal) AS wait (ord, signal) JOIN locked ON locked.ord = wait.ord
    WHERE locked.changed AND locked.waits_for <> locked.waited_for
),
waits_no_more AS (
    DELETE FROM run_waits
    USING locked
    WHERE
        run_waits.run = locked.key AND locked.changed AND locked.waits_for <> locked.waited_for
        AND NOT EXISTS (
            SELECT 1 FROM wait WHERE wait.key = run_waits.run AND wait.signal = run_waits.signal
        )
),
waits AS (
    INSERT INTO run_waits (signal, created_at, run_id, run)
    SELECT wait.signal, wait.created_at, wait.run_id, wait.key
    FROM wait
    ON CONFLICT DO NOTHING
),
called AS (
    INSERT INTO hook_calls (run, hook, workflow_id, ended_at, due_at)
    SELECT locked.key, call.hook, call.workflow_id, call.ended_at, call.due_at
    FROM
        unnest(:h_ord, :h_hook, :h_workflow, :h_ended, :h_due)
            AS call (ord, hook, workflow_id, ended_at, due_at)
        JOIN locked ON locked.ord = call.ord
    WHERE locked.changed
),
-- By its place in the batch: to join them would compare each event with each run.
keys AS MATERIALIZED (
    SELECT jsonb_object_agg(ord::text, key) AS of
    FROM locked
),
written AS (
    INSERT INTO events (run, seq, kind, path, at, body, payload)
    SELECT
        (keys.of ->> event.ord::text)::bigint, event.seq, event.kind, event.path, event.at,
        event.body, event.payload
    FROM
        keys
        JOIN unnest(:e_ord, :e_seq, :e_kind, :e_path, :e_at, :e_body, :e_payload)
            AS event (ord, seq, kind, path, at, body, payload)
            ON keys.of ? event.ord::text
),
fed AS (
    INSERT INTO feed (era, tx, runs, firsts, lasts)
    SELECT
        :era, pg_current_xact_id(), array_agg(key ORDER BY ord),
        array_agg(before + 1 ORDER BY ord), array_agg(after ORDER BY ord)
    FROM locked
    WHERE after > before
    HAVING count(*) > 0
)
SELECT ord
FROM locked
