"""What keeps the platform in order, for any pipeline: work that no asset does."""
