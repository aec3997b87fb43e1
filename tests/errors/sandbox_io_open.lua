-- MX0105 at 2:14, 4 wide: io.open: recipes cannot read or write files
local f = io.open("/etc/passwd")
