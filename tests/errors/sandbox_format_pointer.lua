-- MX0104 at 2:0, 0 wide: string.format: recipes cannot print addresses (%p)
return ("%p"):format({})
