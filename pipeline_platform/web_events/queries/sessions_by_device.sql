-- How long people stay, by device, and how often they leave after one event.
SELECT
  device_type,
  count(*) AS sessions,
  median(duration_ms) AS median_duration_ms,
  avg(is_single_event::INTEGER) AS single_event_share
FROM web_events_gold.sessions
WHERE event_date BETWEEN $last_date::DATE - 27 AND $last_date::DATE AND NOT is_bot
GROUP BY device_type
ORDER BY sessions DESC
