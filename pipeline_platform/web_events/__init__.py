"""Web events: from files, logs and streams to typed, bot-labelled, scored tables and marts."""
