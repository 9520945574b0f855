-- Who waits for a lock, and who holds it (SA-59): pg_locks alone names no blocker, and its rows
-- don't say that a session waits for one that waits itself.

CREATE VIEW blocked_sessions AS
SELECT
    blocked.pid AS blocked_pid,
    extract(
        epoch FROM clock_timestamp() - coalesce(waiting.waitstart, blocked.query_start)
    )::double precision AS waits_seconds,
    waiting.locktype || ' ' || waiting.mode AS lock,
    coalesce(waiting.relation::regclass::text, waiting.locktype) AS object,
    blocked.query AS blocked_query,
    blocker.pid AS blocker_pid,
    blocker.state AS blocker_state,
    blocker.usename::text AS blocker_user,
    extract(epoch FROM clock_timestamp() - blocker.xact_start)::double precision
        AS blocker_seconds,
    blocker.query AS blocker_query
FROM pg_stat_activity AS blocked
JOIN pg_locks AS waiting ON waiting.pid = blocked.pid AND NOT waiting.granted
CROSS JOIN LATERAL unnest(pg_blocking_pids(blocked.pid)) AS holder (pid)
LEFT JOIN pg_stat_activity AS blocker ON blocker.pid = holder.pid
ORDER BY waits_seconds DESC, blocked_pid, blocker_pid;
COMMENT ON VIEW blocked_sessions IS
    'Sessions that wait for a lock beside those that hold it, the longest wait first (SA-59).';
