# SPDX-License-Identifier: Apache-2.0
"""What `plexo demo` runs: this machine's sensors, sent as typed messages from one process to another.

messages.py   the message types and their neurons: what both processes share, and all they share
sensors.py    the sensor process: measures and transmits
viewer.py     the process the user started: reacts, asks for other rates, and judges the run
readings.py   psutil to messages          ledger.py   what arrived, what is lost
child.py      the sensor process as seen by the viewer          display.py   the table and the lines
"""
