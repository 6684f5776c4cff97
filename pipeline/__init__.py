"""Delivers the events of a Kafka topic to the callback URLs of its subscriptions.

A module imports from its own package or from one below it:

    cli            `webhooks ...`, and `webhooks dev`
    worker, app    the process; the composition root
    agents         the agent of the source topic (a package of its own, beside this one)
    runtime, web   the integration with Faust; health, metrics and pages on Faust's web server
    cluster        the state of all workers and their lanes, read from the topics
    subscriptions  reads, stores, follows and changes subscriptions
    config         settings, the API definition, key stores
    kafka, auth    everything that uses Kafka; access tokens
    http           one request and its answer
    observability  counters, log lines, the state of lanes
    core           the rules and the queues, without Kafka, HTTP, Faust and pydantic

docs/concepts.md explains the terms and the flow, docs/design.md the reasons, CONTRIBUTING.md how to change things. To
follow one event, read in core/: model, outcome, policy, window, lane, runner, partition, dispatcher.
"""
