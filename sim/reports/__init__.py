"""Reports: results as one page of HTML that needs nothing besides itself.

`page` has the parts of a report and writes it; the template, its style and the script that sorts tables lie beside it.
"""
