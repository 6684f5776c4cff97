"""Faults in the pages: untrusted text, access by other tenants, listeners that do not read."""

from typing import Final

from tests.mutants.mutant import Mutant

SITE: Final = "tests/unit/web/pages/test_site.py::"
STREAM: Final = "tests/unit/web/pages/test_stream.py::"

PAGES: Final = (
    Mutant(
        "untrusted text is not escaped",
        "pipeline/web/pages/rendering.py",
        was='Markup(escape(safe(str(value), keep="\\n\\t")))',
        becomes="Markup(str(value))",
        tests=(f"{SITE}test_untrusted_text_breaks_no_page",),
    ),
    Mutant(
        "a tenant sees the subscriptions of others",
        "pipeline/web/principal.py",
        was="if found is None or any(found.metadata.get(name) != value for name, value in self.tenant.items()):",
        becomes="if found is None:",
        tests=(f"{SITE}test_a_tenant_sees_only_its_own_subscriptions",),
    ),
    Mutant(
        "a tenant finds the subscriptions of others",
        "pipeline/web/pages/site.py",
        was="limited(search.as_filter(), principal)",
        becomes="search.as_filter()",
        tests=(f"{SITE}test_a_tenant_sees_only_its_own_subscriptions",),
    ),
    Mutant(
        "the address of a subscription leads to another page",
        "pipeline/web/pages/site.py",
        was='"/subscription?" + urlencode({"id": request.match_info["id"]})',
        becomes='"/subscription?id=" + request.match_info["id"]',
        tests=(f"{SITE}test_an_id_in_the_path_leads_to_its_page",),
    ),
    Mutant(
        "a token that may not read gets a page at an unknown path",
        "pipeline/web/pages/site.py",
        was='principal is None or "read" not in principal.scopes or ',
        becomes="principal is None or ",
        tests=(f"{SITE}test_a_token_that_may_not_read_gets_no_page_at_all",),
    ),
    Mutant(
        "any event of the source can be read",
        "pipeline/web/pages/site.py",
        was='lane.state not in {"failure", "retrying"}',
        becomes="False",
        tests=(f"{SITE}test_an_event_is_shown_only_if_it_causes_a_failure",),
    ),
    Mutant(
        "a listener that does not read stays connected",
        "pipeline/web/pages/stream.py",
        was="async with asyncio.timeout(self._write_seconds):",
        becomes="async with asyncio.timeout(None):",
        tests=(f"{STREAM}test_a_listener_that_does_not_read_is_dropped",),
    ),
    Mutant(
        "a server that stops waits for its listeners",
        "pipeline/web/pages/stream.py",
        was="            each.cancel()",
        becomes="            pass",
        tests=(f"{STREAM}test_a_server_that_stops_does_not_wait_for_listeners",),
    ),
)
