"""Metrics, log lines and status.

telemetry, instruments   counters and latencies, updated in the delivery path
prometheus               writes them for Prometheus
tracing                  OpenTelemetry spans of attempts, with optional packages
logs                     formats log lines, and masks credentials in them
status, reporter         the state of this worker's lanes and partitions; why it is not ready
absent                   subscriptions without a lane here
unmatched                warns if the keys of events are not subscription ids
shown                    formats causes and errors for people
"""
