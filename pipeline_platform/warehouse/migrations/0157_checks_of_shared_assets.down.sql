UPDATE faults
SET fault = regexp_replace(fault, ':' || pipeline || '_([^:]+)$', ':\1')
WHERE fault LIKE 'check:operations/recovery/%';
