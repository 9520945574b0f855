DROP TABLE message_deliveries;
DROP TABLE incident_messages;
DROP TABLE incident_events;
DROP TABLE faults;
DROP TABLE incidents;
DROP TABLE watched_periods;
DROP TABLE alert_positions;
