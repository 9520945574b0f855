DROP TABLE lake_proposal_parts;
DROP TABLE lake_proposals;
