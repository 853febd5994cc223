"""Instruments that are not there: each speaks its real wire protocol on loopback, with a seeded dial of faults."""
