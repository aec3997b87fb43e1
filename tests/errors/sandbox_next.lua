-- MX0105 at 2:10, 4 wide: next: recipes cannot walk a table in no order; `pairs` walks it sorted
for k in next, {} do end
