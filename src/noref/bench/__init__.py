"""A recipe trained and tested on every split of one or more data sets. Behind `noref bench`.

A bench is a folder. A cell is one training run in it:

bench.json        recipe, options, data sets, how they are split, and how many cells are done
predictions.csv   a row for each image of each test part, of all cells that are done
report.html       and report.md, report.json: what `noref report` makes of the two
splits/           which image is in which part, each with a checksum; another lab can use the same files
runs/VARIANT/     one run's folder a cell; its `cell.json` is written last: a cell that has one is done
claims/           a lock for each cell: processes, also on several machines that share the folder, divide the work
"""
