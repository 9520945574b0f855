-- The runbook's trend of the last seven days, from the events themselves (SW-28).
SELECT
  event_date,
  avg(data_quality_score) AS avg_quality,
  100.0 * count_if(is_bot) / count(*) AS bot_percentage,
  count(*) AS total_events
FROM web_events_silver.web_events
WHERE event_date BETWEEN $last_date::DATE - 6 AND $last_date::DATE
GROUP BY event_date
ORDER BY event_date
