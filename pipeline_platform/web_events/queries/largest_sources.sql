-- Which twenty sources brought most sessions in the last four weeks.
SELECT traffic_channel, traffic_source, sum(sessions) AS sessions, sum(value) AS value
FROM web_events_gold.traffic_by_source
WHERE event_date BETWEEN $last_date::DATE - 27 AND $last_date::DATE
GROUP BY traffic_channel, traffic_source
ORDER BY sessions DESC
LIMIT 20
