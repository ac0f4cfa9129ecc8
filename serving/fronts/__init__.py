"""Several processes that read HTTP and decode images for one that admits, infers and records.

A front answers nothing by itself. The good case, one small image for POST /predictions, it decodes
and hands over as pixels. Everything else it passes on as it came, so that each check, refusal,
count and page has one home.
"""
