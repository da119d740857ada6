"""The cloud's two kinds of server, for real: functions that start cold, and a pool of long-lived VM workers."""
