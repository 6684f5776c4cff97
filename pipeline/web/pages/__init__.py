"""The pages for people: of the whole cluster, except for `/worker`.

site             the routes, with access control and the data of each page
view             the interface to the cluster's view; names and colours of states and attempts
overview         `/`: counts by state, failures by cause and host, plots
listing          `/subscriptions`: search and filters
worker           `/worker`: the partitions and lanes of this worker
stream           `/api/stream`: tells pages about changes
history, plots   the last 15 minutes
rendering        the templates; escapes every value
formats          numbers and times for people

The pages show everything without the script. The script (templates/page.js) replaces changed parts with newly rendered
ones, and sends actions to the JSON API.
"""

from pipeline.web.pages.site import PageSources, attach_pages

__all__ = ["PageSources", "attach_pages"]
