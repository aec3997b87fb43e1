-- MX0104 at 2:0, 0 wide: the recipe raised a table, not a text
error({})
