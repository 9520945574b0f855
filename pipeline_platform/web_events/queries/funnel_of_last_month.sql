-- How far the sessions of the last four weeks got.
SELECT step_number, step_name, sum(sessions) AS sessions
FROM web_events_gold.funnel
WHERE event_date BETWEEN $last_date::DATE - 27 AND $last_date::DATE
GROUP BY step_number, step_name
ORDER BY step_number
