"""Reads the configuration that operators write, and key material.

settings, settings_sources                  the environment and the settings file
definition, definition_schema               the API definition
routing                                     the error for a definition without a routing
gravitee                                    the formats of Gravitee and its tools
kafka_endpoints, kafka_security             the definition's connections to Kafka
web_address                                 checks that the address of the pages can be bound
documents                                   YAML and JSON
schema, model_fields, validation_messages   strict pydantic models, and one sentence per mistake
keystores                                   opens key stores and keys
"""
