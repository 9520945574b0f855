DROP TABLE lake_queries;
