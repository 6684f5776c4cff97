"""Users of the secured Kafka with only the rights that a test grants (ACLs of Kafka's StandardAuthorizer)."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports them without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.support.brokers import TestBroker
from tests.support.containers import absent, in_ci
from tests.support.secured import SecuredKafka

MECHANISM: Final = "SCRAM-SHA-256"
Kind = Literal["topic", "group", "transactional_id", "cluster"]
KINDS: Final[Mapping[Kind, ResourceType]] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """One right: an operation on a resource, or on all resources whose names have a prefix."""

    kind: Kind
    name: str
    operation: str
    is_prefix: bool = False


@dataclass
class Principal:
    """A user with only the rights that are granted here."""

    name: str
    password: str = field(repr=False)
    secured: SecuredKafka
    admin: AdminClient

    @property
    def broker(self) -> TestBroker:
        """The broker, with the logins of this user."""
        login = {"mechanism": MECHANISM, "username": self.name, "password": self.password}
        security = {**self.secured.security(MECHANISM), "sasl": login}
        return TestBroker(self.secured.address, security=security)

    async def grant(self, *grants: Grant) -> None:
        """Grant rights, and return when the broker has confirmed them."""
        await _all(self.admin.create_acls([self._binding(each) for each in grants]))

    async def revoke(self, *grants: Grant) -> None:
        """Revoke rights."""
        found = [self._binding(each) for each in grants]
        filters = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in found
        ]
        await _all(self.admin.delete_acls(filters))

    def _binding(self, grant: Grant) -> AclBinding:
        pattern = ResourcePatternType.PREFIXED if grant.is_prefix else ResourcePatternType.LITERAL
        operation = AclOperation[grant.operation]
        return AclBinding(
            KINDS[grant.kind], grant.name, pattern, f"User:{self.name}", "*", operation, AclPermissionType.ALLOW
        )


def worker_rights(app: str, topic: str, *, dlq: str | None = None) -> dict[str, Grant]:
    """All rights that a worker needs, each with a name."""
    rights = {
        "source": Grant("topic", topic, "READ"),
        "group": Grant("group", app, "READ"),
        "subscriptions": Grant("topic", f"{app}.subscriptions", "READ"),
        "cursors-read": Grant("topic", f"{app}.cursors", "READ"),
        "cursors-write": Grant("topic", f"{app}.cursors", "WRITE"),
        "tokens-read": Grant("topic", f"{app}-tokens-changelog", "READ"),
        "tokens-write": Grant("topic", f"{app}-tokens-changelog", "WRITE"),
        "transactional-ids": Grant("transactional_id", f"{app}.cursors.", "WRITE", is_prefix=True),
    }
    if dlq is not None:
        rights["dlq"] = Grant("topic", dlq, "WRITE")
    return rights


@asynccontextmanager
async def principal(secured: SecuredKafka, name: str) -> AsyncIterator[Principal]:
    """A new user, whose rights are removed at the end. Without an authorizer, the test is skipped; in CI it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
        options: dict[str, str | int | float | bool] = {
            "bootstrap.servers": secured.address,
            "security.protocol": secured.protocol,
            "sasl.mechanism": MECHANISM,
            "sasl.username": secured.username,
            "sasl.password": secured.password,
        }
        if secured.ca is not None:
            ca.write(secured.ca)
            ca.flush()
            options["ssl.ca.location"] = ca.name
        admin = AdminClient(options)
        found = Principal(name, secrets.token_hex(16), secured, admin)
        await _all(
            admin.alter_user_scram_credentials(
                [
                    UserScramCredentialUpsertion(
                        name,
                        ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096),
                        found.password.encode(),
                    )
                ]
            )
        )
        every = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # the stubs do not allow a filter for any name
            ResourcePatternType.ANY,
            f"User:{name}",
            None,  # type: ignore[arg-type]  # the stubs do not allow a filter for any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        try:
            # The first such request shows whether there is an authorizer.
            await _all([admin.describe_acls(every)])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.SECURITY_DISABLED:
                raise
            absent("the secured Kafka has no authorizer: start it with StandardAuthorizer", expected=in_ci())
        try:
            yield found
        finally:
            await _all(admin.delete_acls([every]))


async def _all(futures: Mapping[Any, Any] | Iterable[Any]) -> None:
    found = futures.values() if isinstance(futures, Mapping) else futures
    await asyncio.gather(*(asyncio.to_thread(future.result, 20) for future in found))
