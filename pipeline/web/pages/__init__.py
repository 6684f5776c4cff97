"""The pages for people. They show the whole cluster, except for `/worker`.

site             the routes, with access control and the data of each page
view             the interface to the view of the cluster; names and colours of states and attempts
overview         `/`: counts by state, failures by cause and host, plots
listing          `/subscriptions`: search and filters
worker           `/worker`: the partitions and lanes of this worker
stream           `/api/stream`: tells pages about changes
history, plots   record and plot the last 15 minutes
rendering        renders the templates, and escapes every value
formats          formats numbers and times for people

The pages show everything without the script. The script (templates/page.js) replaces changed parts by newly rendered
ones, and sends actions to the JSON API.
"""

from pipeline.web.pages.site import PageSources, attach_pages

__all__ = ["PageSources", "attach_pages"]
