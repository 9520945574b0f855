-- Checks of an asset that all pipelines share have the pipeline's name before theirs: what is broken
-- now must be green again under the new name.

UPDATE faults
SET fault = regexp_replace(fault, ':([^:]+)$', ':' || pipeline || '_\1')
WHERE fault LIKE 'check:operations/recovery/%';
