-- How the last four weeks went, day by day.
SELECT * FROM web_events_gold.daily_summary
WHERE event_date BETWEEN $last_date::DATE - 27 AND $last_date::DATE
ORDER BY event_date
