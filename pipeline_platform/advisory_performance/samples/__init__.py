"""Sample arrivals: vendor files of accounts that live on real market prices, faults included."""
