"""DICOM in and out.

Public are `series` (find and read series), `write` (mean and standard deviation as derived series)
and `parametric_map` (the standard deviation as one file). The other modules serve these: `files`
reads headers, `planes` says where each image lies, `stack` sorts images by position, `pixels` and
`decode` read intensities, `header` makes the headers of derived images.
"""
