"""Metrics, log lines and status of a worker.

telemetry, instruments   count and measure in the delivery path
outcome_names            the names of outcomes in metrics and log lines
dead_letter_runs         remembers the subscriptions whose last events were dead-lettered
prometheus               exports counters and latencies to Prometheus
tracing                  makes OpenTelemetry spans of attempts, with optional packages
logs                     formats log lines, and masks credentials in them
status, reporter         report the state of the worker's lanes and partitions, and why it is not ready
absent                   finds subscriptions that have no lane in this worker
unmatched                warns if the keys of events are not subscription ids
shown                    formats causes and errors for people
"""
