DROP TABLE stream_reads;
