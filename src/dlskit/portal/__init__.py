"""The portal's steps, which the vendor documents for a person at a browser, done by a browser without one.

lines.py has the words on the pages, pages.py finds elements by them, verbs.py looks, acts and reads back, session.py
makes the way to a portal (tunnel.py) and a browser (browser.py), and keeps what a failed step leaves to look at
(evidence.py). apply.py takes all steps of one portal (settings.py) in one visit.
"""
