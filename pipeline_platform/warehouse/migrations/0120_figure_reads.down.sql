DROP TABLE figure_reads;
DROP TABLE served_loads;
