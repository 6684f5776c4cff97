"""All exceptions of the pipeline.

A failed delivery is not an exception, but an `Outcome` (outcome.py). Exceptions stop a command, a start or a partition.

    WebhooksError
    ├── ConfigurationError        a definition, subscription or setting can't be used: field, value, what is allowed
    │   └── ConflictError         a change does not fit the state of the subscription
    │       └── PreconditionError        the subscription has changed since the change was prepared
    ├── UnknownSubscriptionError  no subscription has this id
    ├── LibraryError              a patch of a library has no effect
    ├── BusyError                 a limit of this process is reached: try again later
    ├── BrokerError               a broker can't be reached, or a topic is not as required
    │   └── UnconfirmedError      a change may have been made, or not
    ├── FencedError               another worker owns the partition now: write nothing more for it
    ├── LeaseEndedError           the lease has ended, so another worker may own the partitions: nothing was sent
    └── NotDeadLetteredError      the broker will never take this dead letter (too large)
"""


class WebhooksError(Exception):
    """The base of all errors that the pipeline raises on purpose. The text is a sentence for users."""


class ConfigurationError(WebhooksError):
    """A definition, a subscription or a setting can't be used.

    Attributes:
        problems: one sentence per problem, each beginning with the path of its field.
    """

    def __init__(self, problems: list[str] | str) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ConflictError(ConfigurationError):
    """A change does not fit the state of the subscription that it would change."""


class PreconditionError(ConflictError):
    """The subscription has changed since the change was prepared."""


class UnknownSubscriptionError(WebhooksError):
    """A command names a subscription that does not exist."""


class LibraryError(WebhooksError):
    """A patch of a library has no effect in the installed version (core/patches.py)."""


class BusyError(WebhooksError):
    """A limit of this process, or of one tenant in it, is reached: nothing was done."""


class BrokerError(WebhooksError):
    """A broker can't be reached, or a topic is missing or not as required."""


class UnconfirmedError(BrokerError):
    """The broker did not confirm a change in time: it may have been made, or may still be."""


class FencedError(WebhooksError):
    """Kafka refused a cursor row: a newer owner of the partition exists (docs/design.md, Invariants: I5)."""


class LeaseEndedError(WebhooksError):
    """Nothing was sent, because the lease has ended: another worker may own the partition (core/lease.py)."""


class NotDeadLetteredError(WebhooksError):
    """The broker refuses this dead letter permanently, so trying again can't help."""
