"""The operation that rotates the signing secret of a subscription."""

import base64
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from pipeline.core.errors import ConflictError
from pipeline.subscriptions.edits import Change, Condition
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.schema import Signing, WireSubscription
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.api.event_models import RotatedSecret, RotateSecret
from pipeline.web.api.lookup import Lookup, unknown
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.subscriptions import ONE, changed
from pipeline.web.api.writing import Writing

SECRET_BYTES: Final = 32


class SecretOperations:
    """The operation that rotates a signing secret.

    Args:
        lookup: finds subscriptions in `registry`.
        writing: makes changes.
    """

    def __init__(self, registry: Registry, lookup: Lookup, writing: Writing) -> None:
        self._registry = registry
        self._lookup = lookup
        self._writing = writing

    def operations(self) -> Sequence[Operation]:
        """The operation with its path."""
        return (
            Operation(
                "POST",
                f"{ONE}/_rotateSecret",
                self.rotate_secret,
                {HTTPStatus.OK: RotatedSecret},
                body=RotateSecret,
                scope="secrets",
                problems=(HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED),
            ),
        )

    async def rotate_secret(self, call: Call) -> ApiAnswer:
        """Sign with a new secret. For a while, former secrets also sign (Standard Webhooks).

        The receiver accepts any of the signatures, so it can change its secret between two rotations. `keep` is the
        number of former secrets that also sign. Without `secret`, a new secret is generated. Only this answer contains
        it.
        """
        asked: RotateSecret = call.body
        made = f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}" if asked.secret is None else None

        async def work(store: SubscriptionStore) -> Change:
            known = await self._lookup.find(call)
            stored = self._registry.wire(call.id)
            if stored is None:
                raise unknown(call.id)
            document = to_document(_signing_with(made or asked.secret or "", asked.keep, stored))
            return await store.apply(document, Condition(frozenset({known.revision})))

        answer = changed(await self._writing.change(call.principal, work))
        return ApiAnswer({**answer.body, "secret": made}, headers=answer.headers)


def _signing_with(secret: str, keep: int, stored: WireSubscription) -> WireSubscription:
    options = stored.configuration.entrypoint_configuration
    former = [] if options.signing is None else options.signing.secrets
    if secret in former:
        raise ConflictError("secret: is already in use; nothing was changed")
    signing = Signing(secrets=[secret, *former[:keep]])
    entrypoint = options.model_copy(update={"signing": signing})
    configuration = stored.configuration.model_copy(update={"entrypoint_configuration": entrypoint})
    return stored.model_copy(update={"configuration": configuration})
