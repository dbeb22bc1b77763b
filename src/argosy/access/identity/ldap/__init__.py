"""People of an LDAP directory or Active Directory: a small client of our own, and the back end on it.

`ber` and `filters` are pure, `connection` speaks RFC 4511, `directory` is the back end.
docs/adr says why it is not a library.
"""
