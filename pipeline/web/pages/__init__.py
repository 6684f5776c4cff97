"""The pages for people: of the whole cluster, except for `/worker`.

site             the routes: who may see what, and what each page asks for
view             what the pages ask of the cluster's view
overview         `/`: counts by state, failures by cause and host, plots
listing          `/subscriptions`: search and filters
timeline         the attempt log, as it is shown
worker           `/worker`: the lanes of this worker, as it knows them itself
stream           `/api/stream`: tells the pages that something has changed
history, plots   the last 15 minutes
rendering        the templates; escapes every value
formats          numbers and times, as people read them

Templates show everything without a script. The script (templates/page.js) replaces the parts that have changed by what
the worker renders then, and sends actions to the JSON API.
"""

from pipeline.web.pages.site import PageSources, attach_pages

__all__ = ["PageSources", "attach_pages"]
