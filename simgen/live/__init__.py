"""`python -m simgen live`: a page in the browser with the scene, its picture and a control for every factor.

`settings` and `controls` hold what the page sets, `drawing` draws it, `newest` drops all but the newest change, `parts` is
the scene in 3D; `page` alone knows the library of the page, viser.
"""
