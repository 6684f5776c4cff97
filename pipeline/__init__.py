"""Webhook delivery from Kafka."""
