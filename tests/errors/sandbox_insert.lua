-- MX0105 at 2:7, 6 wide: table.insert: recipes cannot call it
table.insert({}, 1, 5)
