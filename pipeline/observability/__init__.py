"""Metrics, log lines and status of a worker.

telemetry, instruments   counters and latencies, counted in the delivery path
prometheus               the metrics in the text format of Prometheus
logs                     the format of log lines, masking and thinning
status, reporter         the state of this worker's lanes and partitions
"""
