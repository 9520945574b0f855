DROP VIEW blocked_sessions;
