"""Delivers the events of a Kafka topic to the callback URLs of its subscriptions.

A module imports from its own package or from one below it:

    cli            `webhooks ...`, and `webhooks dev`
    worker, app    the process; the composition root
    agents         the agent of the source topic (a package of its own, beside this one)
    runtime, web   the seat on Faust; health, metrics and pages on Faust's web server
    subscriptions  what people asked for: read, kept, followed, changed
    config         what operators write: settings, the API definition, certificates
    kafka, auth    everything that speaks to Kafka; access tokens
    http           one request, one answer
    observability  counters, log lines, the state of lanes
    core           the rules and the queues: no Kafka, HTTP, Faust or pydantic

docs/concepts.md has the words and drawings, docs/design.md the reasons, CONTRIBUTING.md recipes. To follow one event,
read core/model, outcome and policy (what can happen, and what follows), then window, lane and runner (what may be
committed, a subscription's queue, the way of one event), then partition and dispatcher.
"""
