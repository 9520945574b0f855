DROP TABLE known_tokens;
DROP TABLE security_reviews;
