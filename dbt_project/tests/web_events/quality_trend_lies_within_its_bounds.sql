-- A mean score lies between 0 and 1, a share between 0 and 100 percent.
select * from {{ ref('quality_trend') }}
where avg_quality not between 0 and 1 or bot_percentage not between 0 and 100
