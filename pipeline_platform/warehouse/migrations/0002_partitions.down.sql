DROP VIEW partition_sizes;
DROP FUNCTION create_monthly_partition(text, text);
