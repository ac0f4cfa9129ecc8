"""The demo: the whole cycle on real images, run through the other packages as a user would run it.

run.py             the steps in order
session.py         what the steps share: data, sites, folders, figures
training.py        steps 1 and 2: train two models, export one
days.py            step 3: thirty days at two sites, and the alarm
recalibration.py   steps 4 and 5: recalibrate under load, verify
traffic.py         images and labels sent over HTTP
"""
