DROP TABLE processor_samples;
