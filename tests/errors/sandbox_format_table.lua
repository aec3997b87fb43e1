-- MX0104 at 2:0, 0 wide: string.format: %s takes a text or a number, not a table
return string.format("%s", {})
