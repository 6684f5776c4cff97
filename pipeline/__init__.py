"""Delivers the events of a Kafka topic to the callback URLs of its subscriptions.

Reading order:

1. `model`, `outcome`, `policy`: the values that travel, what can happen in an attempt, what follows from it.
2. `window`, `lane`, `delivery`, `slots`, `lease`: what may be committed, a subscription's queue, the way of one event.
3. `partition`, `wishes`, `dispatcher`: the lanes of a partition, commands, the partitions of a worker.
4. `consumer`, `cursors`, `backlog`, `dead_letter`: whatever a broker takes is read, rows fenced by Kafka, the log read
   again, dead letters.
5. `intake`, `heartbeats`, `assignor`, `ownership`, `growth`, `first_start`, `agents.deliver`, `app`: the seat on Faust,
   partitions that Kafka takes away or that come later, and the composition root.
6. `subscriptions`, `auth`, `callback`, `web`: the registry, tokens, HTTP, what is shown.
"""
