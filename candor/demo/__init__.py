"""The demo: the whole cycle on real images, run through the other packages as a user would run it.

run.py             the steps in order
session.py         what the steps share: data, folders, figures
training.py        steps 1 and 2: train two models, export one
monitoring.py      steps 3 to 5: serve, label, drift
recalibration.py   steps 6 and 7: recalibrate under load, verify
traffic.py         images and labels sent over HTTP
"""
