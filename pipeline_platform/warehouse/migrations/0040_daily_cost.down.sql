DROP TABLE daily_service_cost;
DROP TABLE daily_cost;
DROP TABLE cost_readings;
