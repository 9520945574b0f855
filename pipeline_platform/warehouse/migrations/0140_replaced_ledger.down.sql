DROP TABLE replaced_ledger;
