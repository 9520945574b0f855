DROP TABLE health_periods;
