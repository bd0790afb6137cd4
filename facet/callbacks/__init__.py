"""What senders are told: deliveries in a transactional outbox, and the callbacks that carry them, at least once.

A delivery is written in the transaction that ends its image; `facet.work` imports it for that.
"""
