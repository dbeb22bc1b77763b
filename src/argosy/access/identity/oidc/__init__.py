"""People and CI jobs whom an OpenID Connect provider vouches for.

`web` fetches, `provider` knows a provider's metadata and keys, `tokens` judges what it
signed, `login` and `device` are the ways in for people. Nothing here trusts a URL that
a request brought along.
"""
