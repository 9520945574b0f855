-- A session's device is one of the kinds that the user-agent's reader knows.
select * from {{ ref('sessions') }}
where device_type not in ('desktop', 'mobile', 'tablet', 'tv', 'bot', 'other', 'unknown')
