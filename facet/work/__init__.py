"""The life of an accepted image: dispatched in batches, claimed under a fencing token, and ended once.

The fencing token is `claim_epoch`: a claim that was lost cannot write any more.
"""
