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
accepted AS MATERIALIZED (
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
-- A transition that uses the latest message comes after all before it: this snapshot has them, too.
used AS MATERIALIZED (
    SELECT
        accepted.*,
        CASE
            WHEN accepted.mailed = ANY(accepted.used) THEN coalesce(
                (
                    SELECT max(inbox.id)
                    FROM inbox
                    WHERE inbox.run = accepted.key AND inbox.id <> ALL(accepted.used)
                ), 0
            )
            ELSE accepted.mailed
        END AS left_over
    FROM accepted
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
    USING accepted
    WHERE inbox.run = accepted.key AND inbox.id = ANY(accepted.used)
),
wait AS MATERIALIZED (
    SELECT wait.signal, accepted.key, accepted.created_at, accepted.run_id
    FROM unnest(:w_ord, :w_signal) AS wait (ord, signal) JOIN accepted ON accepted.ord = wait.ord
    WHERE accepted.changed AND accepted.waits_for <> accepted.waited_for
),
waits_no_more AS (
    DELETE FROM run_waits
    USING accepted
    WHERE
        run_waits.run = accepted.key AND accepted.changed AND accepted.waits_for <> accepted.waited_for
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
    SELECT accepted.key, call.hook, call.workflow_id, call.ended_at, call.due_at
    FROM
        unnest(:h_ord, :h_hook, :h_workflow, :h_ended, :h_due)
            AS call (ord, hook, workflow_id, ended_at, due_at)
        JOIN accepted ON accepted.ord = call.ord
    WHERE accepted.changed
),
