"""What senders are told: the deliveries that are owed (a transactional outbox), and sending them at least once.

A delivery is written in the transaction that ends its image; `facet.work` imports it for that.
"""
