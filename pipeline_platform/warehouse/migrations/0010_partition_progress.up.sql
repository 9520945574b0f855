-- How far each layer has come with each month, in versions of partition_work: a layer writes the
-- version that its input had before it read it, so that nothing is called done too early.

CREATE TABLE partition_progress (
    pipeline text COLLATE "C" NOT NULL,
    layer text COLLATE "C" NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, layer, partition_key)
);
