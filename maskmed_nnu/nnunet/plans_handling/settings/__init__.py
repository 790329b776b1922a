"""Every setting of ours in the plans, declared once: name, type, meaning, default or rule, legal values, user.

One file per network, and one for the instances that two of them share. `networks` says which sections a network's plans
have; `schema` is what the declarations are made of.
"""
