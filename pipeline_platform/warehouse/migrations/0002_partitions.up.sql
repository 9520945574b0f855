-- Monthly partitions (SA-35, SA-36, SA-73; D-1, D-7).

-- The runbook's command, with its signature: SELECT create_monthly_partition('t', 'YYYY-MM-DD').
-- Any day stands for its month; a second call changes nothing; returns the partition's name.
CREATE FUNCTION create_monthly_partition(table_name text, start_date text) RETURNS text
LANGUAGE plpgsql
SET datestyle = 'ISO, YMD'
SET timezone = 'UTC'
AS $$
DECLARE
    parent regclass;
    parent_schema text;
    parent_name text;
    key_type text;
    month_start date;
    suffix text;
    child_name text;
    child oid;
    bounds text;
    expected_bounds text;
    renamed record;
BEGIN
    BEGIN
        parent := coalesce(to_regclass(table_name), to_regclass(quote_ident(table_name)));
    EXCEPTION WHEN invalid_name OR syntax_error OR feature_not_supported THEN
        parent := to_regclass(quote_ident(table_name));
    END;
    IF parent IS NULL THEN
        RAISE EXCEPTION 'Table "%" does not exist; name it as table or schema.table.', table_name
            USING ERRCODE = 'undefined_table';
    END IF;

    BEGIN
        IF start_date !~ '^\d{4}-\d{2}-\d{2}$' THEN
            RAISE invalid_datetime_format;
        END IF;
        month_start := date_trunc('month', start_date::date)::date;
    EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION '"%" is not a date; write any day of the month as YYYY-MM-DD.', start_date
            USING ERRCODE = 'invalid_datetime_format';
    END;
    IF month_start IS NULL THEN
        RAISE EXCEPTION 'The month is missing; write any day of it as YYYY-MM-DD.'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;

    SELECT n.nspname, c.relname, format_type(a.atttypid, NULL)
    INTO parent_schema, parent_name, key_type
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table AS p
        ON p.partrelid = c.oid AND p.partstrat = 'r' AND p.partnatts = 1
    LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    WHERE c.oid = parent;
    IF key_type IS NULL
        OR key_type NOT IN ('date', 'timestamp without time zone', 'timestamp with time zone')
    THEN
        RAISE EXCEPTION 'Table "%" is not partitioned by range of one date or timestamp column.',
            table_name USING ERRCODE = 'wrong_object_type';
    END IF;

    suffix := to_char(month_start, '_YYYY_MM');
    child_name := parent_name || suffix;
    IF octet_length(child_name) > 63 THEN
        RAISE EXCEPTION 'The partition''s name "%" is longer than 63 bytes.', child_name
            USING ERRCODE = 'name_too_long';
    END IF;

    -- One creator at a time per parent: the second sees what the first one made.
    PERFORM pg_advisory_xact_lock(
        hashtextextended('create_monthly_partition:' || parent_schema || '.' || parent_name, 0)
    );

    expected_bounds := CASE key_type
        WHEN 'date' THEN format(
            'FOR VALUES FROM (%L) TO (%L)', month_start, (month_start + interval '1 month')::date)
        WHEN 'timestamp without time zone' THEN format(
            'FOR VALUES FROM (%L) TO (%L)',
            month_start::timestamp, month_start + interval '1 month')
        ELSE format(
            'FOR VALUES FROM (%L) TO (%L)',
            month_start::timestamptz, month_start::timestamptz + interval '1 month')
    END;

    child := to_regclass(format('%I.%I', parent_schema, child_name));
    IF child IS NOT NULL THEN
        SELECT pg_get_expr(c.relpartbound, c.oid) INTO bounds
        FROM pg_class AS c
        JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = parent
        WHERE c.oid = child;
        IF bounds IS NULL THEN
            RAISE EXCEPTION 'Table "%" exists but is not a partition of "%"; rename or attach it.',
                child_name, parent_name USING ERRCODE = 'duplicate_table';
        ELSIF bounds <> expected_bounds THEN
            RAISE EXCEPTION 'Partition "%" exists with other bounds (%): it should be %.',
                child_name, bounds, expected_bounds USING ERRCODE = 'duplicate_table';
        END IF;
        RETURN child_name;
    END IF;

    -- Made beside the parent and attached: unlike CREATE ... PARTITION OF this lets readers and
    -- writers of the other months go on. Attaching adds the indexes and foreign keys.
    EXECUTE format(
        'CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I INCLUDING ALL EXCLUDING INDEXES)',
        parent_schema, child_name, parent_name
    );
    EXECUTE format(
        'ALTER TABLE %1$I.%2$I ATTACH PARTITION %1$I.%3$I %4$s',
        parent_schema, parent_name, child_name, expected_bounds
    );
    FOR renamed IN
        SELECT own.relname AS current_name, above.relname || suffix AS new_name
        FROM pg_index AS x
        JOIN pg_class AS own ON own.oid = x.indexrelid
        JOIN pg_inherits AS i ON i.inhrelid = x.indexrelid
        JOIN pg_class AS above ON above.oid = i.inhparent
        WHERE x.indrelid = to_regclass(format('%I.%I', parent_schema, child_name))
    LOOP
        IF octet_length(renamed.new_name) > 63 THEN
            RAISE EXCEPTION 'The index name "%" is longer than 63 bytes.', renamed.new_name
                USING ERRCODE = 'name_too_long';
        END IF;
        EXECUTE format(
            'ALTER INDEX %I.%I RENAME TO %I',
            parent_schema, renamed.current_name, renamed.new_name
        );
    END LOOP;
    RETURN child_name;
END;
$$;
COMMENT ON FUNCTION create_monthly_partition(text, text) IS
    'Make the partition of the month that a day (YYYY-MM-DD) lies in; nothing if it exists.';

-- Found by inheritance: LIKE 'performance_data_%' also matches tables that are no partitions.
CREATE VIEW partition_sizes AS
SELECT
    parent_schema.nspname::text AS schema_name,
    parent.relname::text AS table_name,
    child.relname::text AS partition_name,
    pg_get_expr(child.relpartbound, child.oid) AS bounds,
    pg_total_relation_size(child.oid) AS total_bytes,
    pg_size_pretty(pg_total_relation_size(child.oid)) AS total_size,
    greatest(child.reltuples, 0)::bigint AS estimated_rows
FROM pg_inherits AS i
JOIN pg_class AS parent ON parent.oid = i.inhparent AND parent.relkind = 'p'
JOIN pg_namespace AS parent_schema ON parent_schema.oid = parent.relnamespace
JOIN pg_class AS child ON child.oid = i.inhrelid AND child.relkind IN ('r', 'f')
ORDER BY total_bytes DESC, partition_name;
COMMENT ON VIEW partition_sizes IS 'Size of every partition, largest first (SA-36).';
