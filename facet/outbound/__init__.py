"""What the service calls on a stranger's word: URLs, the addresses that they may lead to, and requests to just those.

This is the guard against server-side request forgery (SSRF). It imports no other wing.
"""
