DROP TABLE size_samples;
