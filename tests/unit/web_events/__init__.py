"""Pure parts of web_events."""
