"""What the pipeline says of itself.

telemetry, instruments   counters and latencies, counted in the delivery path
prometheus               the same as text for Prometheus
logs                     the format of log lines, and what they leave out
status, reporter         the state of this worker's lanes and partitions
absent                   subscriptions without a lane here
strays                   events that are for no subscription
shown                    numbers and sentences for people
"""
