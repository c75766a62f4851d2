"""A recipe through a protocol: every split trained, tested, kept, resumed, tabled. Behind `noref bench`.

A bench is a folder, and a cell of its grid is one training run in it:

bench.json        recipe, options, data sets, protocol, and how far it is
predictions.csv   a row for each image of each test part, of all cells that are done
report.html       and report.md, report.json: what `noref report` makes of the two
splits/           which image was in which part, each with a checksum; another lab can take them and hand them back
runs/VARIANT/     one run's folder a cell; its `cell.json` is written last: a cell that has one is done
claims/           a lock a cell: processes, also on several machines that share the folder, divide the grid
"""
